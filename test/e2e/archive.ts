// Archives for the end-to-end tests: real product photos (Fashion-MNIST) in the layout imageFolder.

import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { command } from "../../cluster/command.ts";
import { type Counts, writeImageFolder } from "../../demo/photos.ts";

/** Files that are added to the photos, or put in their place, by their path. */
export type Extra = Record<string, Buffer | string>;

/** A .tar.gz of `counts` photos for each of ten concepts. */
export async function photoArchive(counts: Counts, extra: Extra = {}): Promise<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), "deeptrain-archive-"));
  try {
    const data = join(folder, "data");
    await writeImageFolder(data, counts);
    for (const [path, content] of Object.entries(extra)) {
      await mkdir(dirname(join(data, path)), { recursive: true });
      await writeFile(join(data, path), content);
    }
    await command("tar", ["-czf", join(folder, "data.tar.gz"), "-C", data, "."]);
    return await readFile(join(folder, "data.tar.gz"));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
