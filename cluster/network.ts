// The addresses of one cluster and the link between this machine and its node. Every cluster has a /16 of its own:
// 10.<slot>.0.0/20 pods, 10.<slot>.128.0/18 services, 10.<slot>.255.0/30 the link, 10.<slot>.254.0/24 the way out.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { command, succeeds } from "./command.ts";
import { withLock } from "./lock.ts";

export interface Network {
  readonly slot: number;
  /** The name of the link on this machine. */
  readonly link: string;
  /** This machine, as pods see it: the API server, the registry and a test's own servers listen here. */
  readonly hostAddress: string;
  readonly nodeAddress: string;
  readonly podCidr: string;
  /** The bridge's address, where the cluster's DNS answers. */
  readonly gateway: string;
  readonly serviceCidr: string;
  /** Of the way out, where the cluster has one (egress.ts). */
  readonly egress: {
    readonly cidr: string;
    /** The node's, with the prefix length. */
    readonly address: string;
    readonly gateway: string;
    /** Forwards to this machine's resolvers. */
    readonly dns: string;
  };
}

/** In the cluster's folder: its slot. */
export const networkFile = "network.json";

const firstSlot = 128;
const lastSlot = 250;

/** The addresses of slot 10.<slot>. */
export function network(slot: number): Network {
  return {
    slot,
    link: `deeptrain${slot}`,
    hostAddress: `10.${slot}.255.1`,
    nodeAddress: `10.${slot}.255.2`,
    podCidr: `10.${slot}.0.0/20`,
    gateway: `10.${slot}.0.1`,
    serviceCidr: `10.${slot}.128.0/18`,
    // slirp4netns takes the second and the third address for itself.
    egress: {
      cidr: `10.${slot}.254.0/24`,
      address: `10.${slot}.254.100/24`,
      gateway: `10.${slot}.254.2`,
      dns: `10.${slot}.254.3`,
    },
  };
}

/** The first slot that no address or route of this machine lies in; `lines` are addresses and prefixes as `ip` prints them. */
export function freeSlot(lines: readonly string[]): number {
  const isTaken = (slot: number) => lines.some((line) => line.includes(`10.${slot}.`));
  for (let slot = firstSlot; slot <= lastSlot; slot++) if (!isTaken(slot)) return slot;
  throw new Error(
    `no free network: every 10.${firstSlot}.0.0/16 to 10.${lastSlot}.0.0/16 is in use`,
  );
}

/** Links the network namespace of process `pid` to this machine. A cluster that had a network before gets the same again. */
export async function linkNetwork(folder: string, pid: number): Promise<Network> {
  return withLock("network", async () => {
    // A link to namespaces that have ended goes by itself, but not at once.
    await unlinkNetwork(folder);
    const file = join(folder, networkFile);
    const before = Number(await readFile(file, "utf8").catch(() => "0"));
    const taken = await inUse();
    const slot = before === 0 ? freeSlot(taken) : before;
    const result = network(slot);
    if (before !== 0 && taken.some((line) => line.includes(`10.${slot}.`))) {
      throw new Error(
        `10.${slot}.0.0/16, the network of this cluster, is used by something else now: take the cluster down first`,
      );
    }
    await writeFile(file, String(slot));
    await makeLink(result, pid);
    return result;
  });
}

/** The network of a cluster that runs. */
export async function readNetwork(folder: string): Promise<Network> {
  return network(Number(await readFile(join(folder, networkFile), "utf8")));
}

/** Removes the link and with it the addresses and routes on this machine. */
export async function unlinkNetwork(folder: string): Promise<void> {
  const slot = Number(await readFile(join(folder, networkFile), "utf8").catch(() => "0"));
  if (slot !== 0) await succeeds("ip", ["link", "delete", network(slot).link]);
}

async function inUse(): Promise<string[]> {
  const addresses = await command("ip", ["-o", "-4", "address", "show"]);
  const routes = await command("ip", ["-o", "-4", "route", "show", "table", "all"]);
  return `${addresses}\n${routes}`.split("\n");
}

async function makeLink(
  { link, hostAddress, nodeAddress, podCidr, serviceCidr, gateway }: Network,
  pid: number,
): Promise<void> {
  const host = [
    `link add ${link} type veth peer name eth0 netns ${pid}`,
    `address add ${hostAddress}/30 dev ${link}`,
    `link set ${link} up`,
  ];
  const node = [
    "link set lo up",
    `address add ${nodeAddress}/30 dev eth0`,
    "link set eth0 up",
    `route add default via ${hostAddress}`,
    // The CNI plugin would make the bridge with the first pod; the DNS server needs its address before.
    "link add cni0 type bridge",
    `address add ${gateway}/${podCidr.split("/")[1]} dev cni0`,
    "link set cni0 up",
  ];
  await command("ip", ["-batch", "-"], { input: host.join("\n") });
  await command("nsenter", ["-t", String(pid), "-n", "ip", "-batch", "-"], {
    input: node.join("\n"),
  });
  const routes = [
    `route add ${podCidr} via ${nodeAddress}`,
    `route add ${serviceCidr} via ${nodeAddress}`,
  ];
  await command("ip", ["-batch", "-"], { input: routes.join("\n") });
}
