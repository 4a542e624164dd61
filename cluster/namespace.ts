// The walls around a node: its own network, processes and mounts. When the first process in it ends, the kernel ends all
// others, pods included, and takes links and mounts away; so whatever happens, nothing of a node is left behind.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { binary } from "./binaries.ts";
import { command } from "./command.ts";
import { children, logTail, runningProgram, startProgram } from "./program.ts";
import { waitUntil } from "./wait.ts";

/** The program that is the first process of a node's namespaces. */
export const namespaceProgram = "namespace";

// What the kubelet would set for the whole machine; it reads these values, is content, and sets nothing.
const kernelSettings: Readonly<Record<string, string>> = {
  "vm/overcommit_memory": "1",
  "vm/panic_on_oom": "0",
  "kernel/panic": "10",
  "kernel/panic_on_oops": "1",
  "kernel/keys/root_maxkeys": "1000000",
  "kernel/keys/root_maxbytes": "25000000",
};

/** Makes the namespaces if they are not there; resolves to the pid of their first process and whether it is new. */
export async function startNamespace(
  folder: string,
  daemon: boolean,
): Promise<{ pid: number; isNew: boolean }> {
  const running = await namespacePid(folder);
  if (running !== undefined) return { pid: running, isNew: false };
  const init = await binary("pause");
  const unshare = [
    "unshare",
    "--mount",
    "--net",
    "--pid",
    "--fork",
    "--kill-child=KILL",
    "--mount-proc",
    "--",
    init,
  ];
  await startProgram({ name: namespaceProgram, argv: unshare, folder, daemon });
  let pid = 0;
  const isUp = async () => {
    pid = (await namespacePid(folder)) ?? 0;
    return pid !== 0 && (await readFile(`/proc/${pid}/cmdline`, "utf8")).startsWith(init);
  };
  await waitUntil(isUp, {
    what: "the node's namespaces",
    timeoutMs: 10_000,
    everyMs: 5,
    evidence: () => logTail(folder, namespaceProgram),
  });
  await mountPrivately(folder, pid);
  return { pid, isNew: true };
}

/** The command line that runs `argv` inside. */
export function inNamespace(pid: number, argv: readonly string[]): string[] {
  // nsenter forks to get into the process namespace; what it starts must not outlive it.
  return [
    "nsenter",
    "-t",
    String(pid),
    "-m",
    "-n",
    "-p",
    "--",
    "setpriv",
    "--pdeathsig",
    "KILL",
    "--",
    ...argv,
  ];
}

async function namespacePid(folder: string): Promise<number | undefined> {
  const unshare = await runningProgram(folder, namespaceProgram);
  return unshare === undefined ? undefined : children(unshare)[0];
}

// Sockets, pod network namespaces, logs and CNI's notes lie at fixed paths: inside, those are folders of this cluster's own.
async function mountPrivately(folder: string, pid: number): Promise<void> {
  const settings = join(folder, "sysctl");
  await Promise.all(
    [settings, join(folder, "varlog"), join(folder, "cni"), "/var/lib/cni"].map((each) =>
      mkdir(each, { recursive: true }),
    ),
  );
  const lines = [
    "set -e",
    "mount --make-rshared /",
    "mount -t tmpfs -o mode=755 tmpfs /run",
    `mount --bind ${folder}/varlog /var/log`,
    `mount --bind ${folder}/cni /var/lib/cni`,
    "echo 1 > /proc/sys/net/ipv4/ip_forward",
  ];
  for (const [path, value] of Object.entries(kernelSettings)) {
    const file = join(settings, path.replaceAll("/", "."));
    await writeFile(file, `${value}\n`);
    lines.push(`if [ -e /proc/sys/${path} ]; then mount --bind ${file} /proc/sys/${path}; fi`);
  }
  const [file = "", ...args] = inNamespace(pid, ["sh"]);
  await command(file, args, { input: lines.join("\n") });
}
