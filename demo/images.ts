// The three images of the demo: operator, trainer, and the photos that a Pod serves.

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cacheFolder } from "../cluster/folders.ts";
import { bundleOperator } from "../operator/bundle.ts";
import { imageFolder, photosPerConcept } from "./photos.ts";
import { tarGz } from "./tar.ts";
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

/** Made once for each content: drawing 15,000 PNG files takes half a minute. */
async function photosContext(say: (line: string) => void): Promise<string> {
  const key = createHash("sha256")
    .update(JSON.stringify([photosPerConcept, photosDockerfile]))
    .digest("hex")
    .slice(0, 10);
  const folder = cacheFolder("demo", `photos-${key}`);
  if (existsSync(folder)) return folder;
  say("drawing the photos of Fashion-MNIST (half a minute, once)");
  const work = `${folder}.${process.pid}`;
  await mkdir(work, { recursive: true });
  try {
    await writeFile(join(work, "fashion-mnist.tar.gz"), tarGz(await imageFolder(photosPerConcept)));
    await writeFile(join(work, "Dockerfile"), photosDockerfile);
    await rename(work, folder);
  } catch (error) {
    // Another demo beside this one has drawn the same.
    if (!existsSync(folder)) throw error;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
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
