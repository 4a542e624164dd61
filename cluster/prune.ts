// Keeps the cache of images from growing without end: of each image the last few versions stay, in buildah's storage and in the
// registry's.
import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { binary } from "./binaries.ts";
import { buildah } from "./buildah.ts";
import { command } from "./command.ts";
import { cacheFolder } from "./folders.ts";
import { registryConfiguration, repositoryFolder } from "./registry.ts";

/** Versions of an image that stay: a change, what was before it, and another checkout's. */
const kept = 3;

/** A version of an image, by the key that is its tag, and when it was last asked for. */
export interface Version {
  readonly key: string;
  readonly usedMs: number;
}

/** The versions that go: all but those that were asked for last. */
export function superseded(versions: readonly Version[], keep: number): string[] {
  return versions
    .toSorted((a, b) => b.usedMs - a.usedMs)
    .slice(keep)
    .map(({ key }) => key);
}

/** The file that says by which digest a version of an image was pushed; its time says when it was last asked for. */
export function recordFile(name: string, key: string): string {
  return cacheFolder("images", `${name.replaceAll("/", "-")}-${key}`);
}

/** Removes what builds left that were cut short. No other build may run. */
export async function removeLeftovers(): Promise<void> {
  await buildah(["rm", "--all"]);
}

/** Removes versions of an image but the last `keep`, and layers that no image has any more. No other build or push may run. */
export async function pruneImage(name: string, keep = kept): Promise<void> {
  const old = superseded(await versionsOf(name), keep);
  for (const key of old) {
    // It may have been removed by hand.
    await buildah(["rmi", `localhost/${name}:${key}`]).catch(() => "");
    await rm(join(repositoryFolder(name), "_manifests", "tags", key), {
      recursive: true,
      force: true,
    });
    await rm(recordFile(name, key), { force: true });
  }
  await buildah(["rmi", "--prune"]);
  if (old.length > 0) await collectRegistryGarbage();
}

async function versionsOf(name: string): Promise<Version[]> {
  const prefix = `${name.replaceAll("/", "-")}-`;
  const files = await readdir(cacheFolder("images")).catch(() => []);
  const keys = files
    .filter((file) => file.startsWith(prefix))
    .map((file) => file.slice(prefix.length))
    // Not those of another image whose name goes on.
    .filter((key) => /^[0-9a-f]{16}$/.test(key));
  return Promise.all(
    keys.map(async (key) => ({ key, usedMs: (await stat(recordFile(name, key))).mtimeMs })),
  );
}

async function collectRegistryGarbage(): Promise<void> {
  const work = await mkdtemp(cacheFolder("tmp", "registry-"));
  try {
    const config = join(work, "registry.json");
    await writeFile(config, JSON.stringify(registryConfiguration("127.0.0.1:0")));
    const args = ["garbage-collect", "--delete-untagged", "--quiet", config];
    await command(await binary("registry"), args, { env: { OTEL_TRACES_EXPORTER: "none" } });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
