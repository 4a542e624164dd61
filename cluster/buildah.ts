// buildah with a storage of our own in the cache, so that a developer's images stay what they are.
import { mkdir } from "node:fs/promises";
import { type CommandOptions, command } from "./command.ts";
import { cacheFolder } from "./folders.ts";

/** Runs buildah and gives back what it printed. */
export async function buildah(
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  const root = cacheFolder("buildah");
  await mkdir(root, { recursive: true });
  // The second folder is lost with a reboot, as it must be: it says what is mounted.
  const storage = [
    "--root",
    root,
    "--runroot",
    "/run/deeptrain/buildah",
    "--storage-driver",
    "overlay",
  ];
  return command("buildah", [...storage, ...args], options);
}

/** Says whether an image of that name is in the storage. */
export async function hasImage(name: string): Promise<boolean> {
  return (await buildah(["images", "--quiet", "--filter", `reference=${name}`])).trim() !== "";
}
