// A build context: the files an image is made of, copied aside so that what is hashed is what is built.
import { createHash } from "node:crypto";
import { chmod, copyFile, lstat, mkdir, readdir, readFile, utimes } from "node:fs/promises";
import { dirname, join } from "node:path";

// Never part of an image of ours, and large.
const leftOut = new Set([
  ".git",
  "node_modules",
  ".venv",
  "__pycache__",
  ".pytest_cache",
  ".ruff_cache",
]);

// Layers are compared by content and time; a checkout has new times for the same content.
const fixedTime = new Date("2020-01-01T00:00:00Z");

/** The files below `inputs` (files or folders, relative to `folder`), sorted. */
export async function contextFiles(folder: string, inputs: readonly string[]): Promise<string[]> {
  const found = await Promise.all(inputs.map((input) => filesBelow(folder, input)));
  return [...new Set(found.flat())].sort();
}

/** The digest of names, contents and whether they can be executed. */
export async function contextDigest(folder: string, files: readonly string[]): Promise<string> {
  const hash = createHash("sha256");
  for (const file of files) {
    const content = createHash("sha256")
      .update(await readFile(join(folder, file)))
      .digest("hex");
    hash.update(JSON.stringify([file, await isExecutable(join(folder, file)), content]));
  }
  return hash.digest("hex");
}

/** Copies files to a folder with times and modes that depend on content alone. */
export async function copyContext(
  folder: string,
  files: readonly string[],
  target: string,
): Promise<void> {
  for (const file of files) {
    const copy = join(target, file);
    await mkdir(dirname(copy), { recursive: true });
    await copyFile(join(folder, file), copy);
    await chmod(copy, (await isExecutable(join(folder, file))) ? 0o755 : 0o644);
    await utimes(copy, fixedTime, fixedTime);
  }
  await settleFolders(target);
}

async function settleFolders(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) await settleFolders(join(folder, entry.name));
  }
  await chmod(folder, 0o755);
  await utimes(folder, fixedTime, fixedTime);
}

async function filesBelow(folder: string, path: string): Promise<string[]> {
  const stat = await lstat(join(folder, path));
  if (stat.isFile()) return [path];
  if (!stat.isDirectory())
    throw new Error(`${join(folder, path)}: a build context has files and folders only`);
  const names = (await readdir(join(folder, path))).filter((name) => !leftOut.has(name));
  return (await Promise.all(names.map((name) => filesBelow(folder, join(path, name))))).flat();
}

async function isExecutable(path: string): Promise<boolean> {
  return ((await lstat(path)).mode & 0o100) !== 0;
}
