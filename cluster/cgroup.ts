// The control group below which all pods of a node lie, in every hierarchy of this machine (one with cgroup v2).
import { existsSync } from "node:fs";
import { mkdir, readdir, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { waitUntil } from "./wait.ts";

const mountPoint = "/sys/fs/cgroup";

/** Makes the group, which the kubelet wants to find; gives back the name to tell it. */
export async function makeCgroup(name: string): Promise<string> {
  for (const hierarchy of await hierarchies()) {
    await mkdir(join(hierarchy, name), { recursive: true });
    if (!isUnified()) continue;
    for (const group of [hierarchy, join(hierarchy, name)]) {
      await writeFile(join(group, "cgroup.subtree_control"), "+cpu +cpuset +memory +pids +io");
    }
  }
  return `/${name}`;
}

/** Removes the group and all below it; their processes must have been ended. */
export async function removeCgroup(name: string): Promise<void> {
  for (const hierarchy of await hierarchies()) {
    const group = join(hierarchy, name);
    // A group stays busy for a moment after its last process.
    await waitUntil(async () => removeTree(group), {
      what: `removing ${group}`,
      timeoutMs: 10_000,
    });
  }
}

async function removeTree(group: string): Promise<boolean> {
  if (!existsSync(group)) return true;
  for (const entry of await readdir(group, { withFileTypes: true })) {
    if (entry.isDirectory()) await removeTree(join(group, entry.name));
  }
  await rmdir(group);
  return true;
}

async function hierarchies(): Promise<string[]> {
  if (isUnified()) return [mountPoint];
  const entries = await readdir(mountPoint, { withFileTypes: true });
  // Links such as cpuacct -> cpu,cpuacct name a hierarchy twice.
  return entries
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(mountPoint, entry.name))
    .filter((folder) => existsSync(join(folder, "cgroup.procs")));
}

function isUnified(): boolean {
  return existsSync(join(mountPoint, "cgroup.controllers"));
}
