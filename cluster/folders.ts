// Where the cluster keeps what it builds (worth keeping) and what it runs on (gone with `down`). Never in the checkout.
import { homedir } from "node:os";
import { join } from "node:path";

/** The folder of everything that can be built again: programs, base images, image layers. */
export function cacheFolder(...parts: string[]): string {
  const root =
    process.env.DEEPTRAIN_CACHE ??
    join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "deeptrain");
  return join(root, ...parts);
}

/** The folder of one cluster's state. */
export function clusterFolder(name: string): string {
  return join(clustersFolder(), checkedName(name));
}

/** Where root's clusters lie. Anybody may see which there are. */
export const rootClustersFolder = "/var/lib/deeptrain/clusters";

/** The folder that holds one folder per cluster. Sockets lie below it, so it must stay short: their paths end at 107 bytes. */
export function clustersFolder(): string {
  if (process.getuid?.() === 0) return rootClustersFolder;
  const state = process.env.XDG_STATE_HOME ?? join(homedir(), ".local", "state");
  return join(state, "deeptrain", "clusters");
}

// The name becomes a folder, a node name, a cgroup and part of an interface name.
function checkedName(name: string): string {
  if (!/^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$/.test(name)) {
    throw new Error(
      `cluster name ${JSON.stringify(name)}: use at most 40 lower-case letters, digits and hyphens, starting with a letter`,
    );
  }
  return name;
}
