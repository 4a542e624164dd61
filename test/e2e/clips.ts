// Videos for the end-to-end tests, made by the trainer's own tools: no encoder is a dependency of ours.

import { join } from "node:path";
import { command } from "../../cluster/command.ts";
import { tarGz } from "../../demo/tar.ts";

const trainer = join(import.meta.dirname, "../../trainer-image");
export const clipConcepts = ["blue", "red"] as const;

export interface ClipCounts {
  train: number;
  val: number;
  test: number;
}

/** A .tar.gz in the layout videoFolder: for each concept so many clips of two seconds, of its colour. */
export async function clipArchive(counts: ClipCounts): Promise<Buffer> {
  const python = join((await command("bash", [join(trainer, "venv.sh")])).trim(), "bin/python");
  const files: Record<string, Buffer> = {};
  let number = 0;
  for (const concept of clipConcepts) {
    for (const [split, count] of Object.entries(counts)) {
      for (let i = 0; i < count; i++) {
        const code = `import base64, videos; print(base64.b64encode(videos.clip(${JSON.stringify(concept)}, ${number++})).decode())`;
        const encoded = await command(python, ["-c", code], {
          cwd: join(trainer, "tests/dataset"),
        });
        files[`${split}/${concept}/clip-${i}.mp4`] = Buffer.from(encoded, "base64");
      }
    }
  }
  return tarGz(files);
}
