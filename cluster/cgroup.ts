// The control group below which all pods of a node lie, in every hierarchy of this machine (one with cgroup v2).
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { waitUntil } from "./wait.ts";

const mountPoint = "/sys/fs/cgroup";

/** The control groups of that name, in whatever hierarchies this machine has. */
export async function cgroupFolders(name: string): Promise<string[]> {
  return (await hierarchies()).map((hierarchy) => join(hierarchy, name));
}

// What the kubelet asks of its group: getSupportedUnifiedControllers in pkg/kubelet/cm/cgroup_v2_manager_linux.go of 1.37.
const neededControllers = ["cpu", "cpuset", "memory", "hugetlb", "pids"];

/**
 * What enables, for the groups below, the controllers that the kubelet needs of those that the root group has
 * (`cgroup.controllers`). One that the kernel lacks would make it refuse them all.
 */
export function subtreeControl(rootControllers: string): string {
  const available = rootControllers.trim().split(/\s+/);
  return neededControllers
    .filter((controller) => available.includes(controller))
    .map((controller) => `+${controller}`)
    .join(" ");
}

/** Makes the group, which the kubelet wants to find; gives back the name to tell it. */
export async function makeCgroup(name: string): Promise<string> {
  for (const hierarchy of await hierarchies()) {
    await mkdir(join(hierarchy, name), { recursive: true });
    if (!isUnified()) continue;
    const enabling = subtreeControl(await readFile(join(hierarchy, "cgroup.controllers"), "utf8"));
    for (const group of [hierarchy, join(hierarchy, name)]) {
      await writeFile(join(group, "cgroup.subtree_control"), enabling);
    }
  }
  return `/${name}`;
}

/** Removes the group and all below it; their processes must have been ended. */
export async function removeCgroup(name: string): Promise<void> {
  for (const group of await cgroupFolders(name)) {
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

/** The roots of the hierarchies below the mount point: itself with cgroup v2, a folder for each controller with v1. */
export async function hierarchies(root: string = mountPoint): Promise<string[]> {
  if (isUnified(root)) return [root];
  const entries = await readdir(root, { withFileTypes: true });
  // Links such as cpuacct -> cpu,cpuacct name a hierarchy twice.
  return entries
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(root, entry.name))
    .filter((folder) => existsSync(join(folder, "cgroup.procs")));
}

function isUnified(root: string = mountPoint): boolean {
  return existsSync(join(root, "cgroup.controllers"));
}
