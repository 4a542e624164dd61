// The end of a run of end-to-end tests. Clusters that are no daemons die with the process that started them; their folders,
// gigabytes of images, would stay until the next start of that name.
import { readFile } from "node:fs/promises";
import { controlPlaneFolder, hasNode, removeCluster } from "./cluster.ts";
import { clusterFolder } from "./folders.ts";
import { namespaceProgram } from "./namespace.ts";
import { runningProgram } from "./program.ts";
import { waitUntil } from "./wait.ts";

const names = ["e2e", "node-test", "cli-test", "egress-test"];

/** Called by vitest after the last test; leaves alone what another run beside this one has started. */
export async function teardown(): Promise<void> {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return;
  for (const name of names) {
    const isOurs = async () => {
      const pid = await runningProgram(clusterFolder(name), namespaceProgram);
      return pid === undefined || (await descends(pid, process.pid));
    };
    // One whose test process has just ended is about to end.
    const isFree = await waitUntil(isOurs, { what: name, timeoutMs: 3000 }).then(
      () => true,
      () => false,
    );
    // One without a node is somebody's who gave it this name.
    const isAlone = (await runningProgram(controlPlaneFolder(name), "etcd")) !== undefined;
    if (isFree && !(isAlone && !hasNode(name))) await removeCluster(name);
  }
}

async function descends(pid: number, ancestor: number): Promise<boolean> {
  if (pid <= 1) return false;
  if (pid === ancestor) return true;
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  // The second field is the program's name, in parentheses; the fourth is the parent.
  const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1] ?? 0);
  return descends(parent, ancestor);
}
