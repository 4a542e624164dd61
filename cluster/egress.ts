// The way out of a cluster that somebody works with: pods reach what this machine reaches, and resolve what it resolves. By
// slirp4netns, a TCP/IP stack in a process: nothing of this machine's forwarding, firewall or addresses is touched, and what
// leaves is this process's own connection. Without it the node's default route ends at this machine.
import { command, succeeds } from "./command.ts";
import type { Network } from "./network.ts";
import { installEgressPackages } from "./packages.ts";
import { endProgram, logTail, runningProgram, startProgram } from "./program.ts";
import { waitUntil } from "./wait.ts";

/** The program's name among those of a cluster. */
export const egressProgram = "egress";

const device = "tap0";

export interface EgressSpec {
  readonly folder: string;
  /** The first process of the node's namespaces. */
  readonly pid: number;
  readonly network: Network;
  readonly daemon: boolean;
  readonly say: (line: string) => void;
}

/** Opens the way out; where this machine does not let it, says so in one line and resolves to false. */
export async function startEgress(spec: EgressSpec): Promise<boolean> {
  const { folder, say } = spec;
  if ((await runningProgram(folder, egressProgram)) !== undefined) return true;
  try {
    await installEgressPackages(say);
    await open(spec);
    return true;
  } catch (error) {
    await endProgram(folder, egressProgram);
    const said = (await logTail(folder, egressProgram)).split("\n").at(-1);
    const [reason = ""] = (error instanceof Error ? error.message : String(error)).split("\n");
    say(`pods have no internet: ${[reason, said].filter(Boolean).join(": ")}`);
    return false;
  }
}

async function open({ folder, pid, network, daemon }: EgressSpec): Promise<void> {
  const { cidr, address, gateway } = network.egress;
  // This machine's own loopback stays out of reach of pods.
  const flags = ["--disable-host-loopback", `--cidr=${cidr}`, String(pid), device];
  await startProgram({ name: egressProgram, argv: ["slirp4netns", ...flags], folder, daemon });
  const inside = ["-t", String(pid), "-n", "ip"];
  await waitUntil(async () => succeeds("nsenter", [...inside, "link", "show", device]), {
    what: "the way out",
    timeoutMs: 5000,
  });
  const lines = [
    `address add ${address} dev ${device}`,
    `link set ${device} up`,
    `route replace default via ${gateway} dev ${device}`,
  ];
  await command("nsenter", [...inside, "-batch", "-"], { input: lines.join("\n") });
}
