// A whole cluster: a control plane with all its programs, an image registry, and one node.
import { existsSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { removeCgroup } from "./cgroup.ts";
import { type ControlPlane, startControlPlane } from "./controlplane.ts";
import { startEgress } from "./egress.ts";
import { clusterFolder } from "./folders.ts";
import { namespaceProgram, startNamespace } from "./namespace.ts";
import { linkNetwork, type Network, networkFile, readNetwork } from "./network.ts";
import { cgroupName, type Node, removeNode, startNode } from "./node.ts";
import { installNodePackages } from "./packages.ts";
import { endLeftovers, runningProgram } from "./program.ts";
import { registryPort, registryProgram, startRegistry } from "./registry.ts";

export interface ClusterOptions {
  readonly name: string;
  /** True: it outlives this process, and starting it again continues it. Default false: it dies with this process, and starts empty. */
  readonly daemon?: boolean;
  /** Default false: a test's data need not outlive a power cut. */
  readonly fsync?: boolean;
  /** Whether pods reach what this machine reaches. Default false: nothing leaves this machine. */
  readonly egress?: boolean;
  /** Added to kube-apiserver's command line. */
  readonly apiServerArgs?: readonly string[];
  readonly say?: (line: string) => void;
}

export interface Cluster {
  readonly controlPlane: ControlPlane;
  readonly node: Node;
  /** Path of the administrator's kubeconfig. */
  readonly kubeconfig: string;
  /** This machine, as pods see it: a server that pods should reach listens here. */
  readonly hostAddress: string;
  /** Where this machine pushes images to (plain http); pods pull the same as `registryName`. */
  readonly registry: string;
  /** The addresses of pods and services, all of which this machine reaches. */
  readonly network: Network;
  /** Ends everything and leaves nothing. */
  stop(): Promise<void>;
}

/** Where the control plane of a cluster lies. */
export function controlPlaneFolder(name: string): string {
  return join(clusterFolder(name), "control-plane");
}

/** Path of the administrator's kubeconfig of a cluster, whether or not it is there. */
export function kubeconfigPath(name: string): string {
  return join(controlPlaneFolder(name), "kubeconfig");
}

/** Says whether a cluster, running or not, has a node. */
export function hasNode(name: string): boolean {
  return existsSync(join(clusterFolder(name), networkFile));
}

/** Starts a cluster with a node, and resolves when the node is ready: about 10 s once the programs are built. */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const { name, daemon = false, say = () => {} } = options;
  await installNodePackages(say);
  const folder = clusterFolder(name);
  if (!daemon) await removeCluster(name);
  // Its API server listens on loopback and gave out addresses of another range.
  if (existsSync(join(controlPlaneFolder(name), "etcd")) && !hasNode(name)) {
    throw new Error(`cluster ${name} was started without a node: take it down first`);
  }
  await mkdir(folder, { recursive: true, mode: 0o711 });
  try {
    const { pid, isNew, network } = await startWalls(name, daemon);
    if ((await runningProgram(folder, registryProgram)) === undefined) {
      await startRegistry({ folder, address: network.hostAddress, port: registryPort, daemon });
    }
    const controlPlane = await startControlPlane({
      ...options,
      dir: controlPlaneFolder(name),
      address: network.hostAddress,
      // The programs of a node that runs on look for it where it was.
      keepPorts: !isNew,
      serviceCidr: network.serviceCidr,
      controllerManager: true,
      scheduler: true,
    });
    const hasEgress =
      options.egress === true && (await startEgress({ folder, pid, network, daemon, say }));
    const node = await startNode({ folder, controlPlane, pid, network, hasEgress });
    return {
      controlPlane,
      node,
      kubeconfig: controlPlane.kubeconfig,
      hostAddress: network.hostAddress,
      registry: `${network.hostAddress}:${registryPort}`,
      network,
      stop: () => removeCluster(name),
    };
  } catch (error) {
    if (!daemon) await removeCluster(name);
    throw error;
  }
}

// Namespaces and their link. A start may be cut short between the two; the mark says that both are whole.
async function startWalls(
  name: string,
  daemon: boolean,
): Promise<{ pid: number; isNew: boolean; network: Network }> {
  const folder = clusterFolder(name);
  const mark = join(folder, "linked");
  const isRunning = (await runningProgram(folder, namespaceProgram)) !== undefined;
  if (!isRunning) await rm(mark, { force: true });
  else if (!existsSync(mark)) await endLeftovers(folder);
  const { pid, isNew } = await startNamespace(folder, daemon);
  if (!isNew) return { pid, isNew, network: await readNetwork(folder) };
  // The groups of pods that died in a crash: the kubelet would wait seconds for each one's container.
  await removeCgroup(cgroupName(name));
  const network = await linkNetwork(folder, pid);
  await writeFile(mark, "");
  return { pid, isNew, network };
}

/** Removes every trace of a cluster, in whatever state it is. */
export async function removeCluster(name: string): Promise<void> {
  const folder = clusterFolder(name);
  if (!existsSync(folder)) return;
  await endLeftovers(folder);
  await removeNode(folder, name);
  await rm(folder, { recursive: true, force: true });
}
