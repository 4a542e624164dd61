// The three images of the demo: operator, trainer, and the photos that a Pod serves.

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { cp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { command } from "../cluster/command.ts";
import { cacheFolder } from "../cluster/folders.ts";
import { bundleOperator } from "../operator/bundle.ts";
import { photosPerConcept, writeImageFolder } from "./photos.ts";
import type { Target } from "./target.ts";

const root = join(import.meta.dirname, "..");

export async function operatorImage(target: Pick<Target, "image">): Promise<string> {
  const context = await bundleOperator();
  const digest = await folderDigest(context);
  return target.image({ name: "deeptrain/operator", context, base: "node", digest });
}

export async function trainerImage(target: Pick<Target, "image">): Promise<string> {
  const context = await trainerContext();
  const digest = await folderDigest(context);
  // Its Python packages bring CUDA.
  const gigabytes = 6.3;
  return target.image({ name: "deeptrain/trainer", context, base: "python", digest, gigabytes });
}

/** What the trainer's Dockerfile copies, and itself. */
const trainerInputs = [
  "Dockerfile",
  "requirements.txt",
  "requirements-uv.txt",
  "deeptrain_trainer",
];

/** The image's inputs alone, so that a test or a cache in trainer-image/ changes no image. */
async function trainerContext(): Promise<string> {
  const folder = join(root, "dist", "trainer");
  await rm(folder, { recursive: true, force: true });
  for (const input of trainerInputs) {
    await cp(join(root, "trainer-image", input), join(folder, input), {
      recursive: true,
      filter: (path) => !path.endsWith("__pycache__"),
    });
  }
  return folder;
}

export async function photosImage(
  target: Pick<Target, "image">,
  say: (line: string) => void,
): Promise<string> {
  const context = await photosContext(say);
  const digest = await folderDigest(context);
  return target.image({ name: "deeptrain/demo-photos", context, base: "python", digest });
}

const photosDockerfile = `# Serves the demo's photos.
ARG BASE=python:3.12-slim
FROM \${BASE}
COPY fashion-mnist.tar.gz /photos/
USER 65532:65532
`;

/** Made once: 15,000 PNG files take half a minute. */
async function photosContext(say: (line: string) => void): Promise<string> {
  const { train, validation, test } = photosPerConcept;
  const folder = cacheFolder("demo", `photos-${train}-${validation}-${test}`);
  if (existsSync(folder)) return folder;
  say("drawing the photos of Fashion-MNIST (half a minute, once)");
  const work = `${folder}.${process.pid}`;
  await rm(work, { recursive: true, force: true });
  await writeImageFolder(join(work, "photos"), photosPerConcept);
  // Nothing of this machine or this hour in the archive: equal photos give equal bytes.
  const reproducible = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"];
  await command("tar", [...reproducible, "-cf", "fashion-mnist.tar", "-C", "photos", "."], {
    cwd: work,
  });
  await command("gzip", ["--no-name", "fashion-mnist.tar"], { cwd: work });
  await rm(join(work, "photos"), { recursive: true });
  await writeFile(join(work, "Dockerfile"), photosDockerfile);
  await rename(work, folder);
  return folder;
}

/** Ten digits that change with any name or byte below `folder`. */
async function folderDigest(folder: string): Promise<string> {
  const hash = createHash("sha256");
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  for (const path of files.map((file) => join(file.parentPath, file.name)).sort()) {
    hash
      .update(`${path.slice(folder.length)}\0`)
      .update(await readFile(path))
      .update("\0");
  }
  return hash.digest("hex").slice(0, 10);
}
