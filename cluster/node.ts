// The node of a cluster: containerd, kubelet, kube-proxy and the cluster's DNS, inside namespaces of its own.
import { join } from "node:path";
import { binary } from "./binaries.ts";
import { authority, clientCertificate, servingCertificate } from "./certificates.ts";
import { makeCgroup, removeCgroup } from "./cgroup.ts";
import { writeCni } from "./cni.ts";
import { containerdAnswers, containerdCommand, importPauseImage } from "./containerd.ts";
import type { ControlPlane } from "./controlplane.ts";
import { coreDnsArgs, dnsManifests, dnsUser } from "./coredns.ts";
import { writeKubeconfig } from "./kubeconfig.ts";
import { applyObjects, kubectl } from "./kubectl.ts";
import { kubeletArgs } from "./kubelet.ts";
import { kubeProxyArgs } from "./kubeproxy.ts";
import { inNamespace, namespaceProgram } from "./namespace.ts";
import { type Network, unlinkNetwork } from "./network.ts";
import { endProgram, logTail, runningProgram, startProgram } from "./program.ts";
import { localVolumes } from "./storage.ts";
import { waitUntil } from "./wait.ts";

export type NodeProgram = "containerd" | "kubelet" | "kube-proxy" | "coredns";

export const nodePrograms: readonly NodeProgram[] = [
  "containerd",
  "kube-proxy",
  "coredns",
  "kubelet",
];

export interface Node {
  readonly name: string;
  /** Ends one program, by default as a crash would; pods go on. */
  kill(program: NodeProgram, signal?: NodeJS.Signals): Promise<void>;
  /** Starts a program that was killed. */
  start(program: NodeProgram): Promise<void>;
  /** Kills the kubelet as a crash would and starts it again. */
  restartKubelet(): Promise<void>;
  /** Resolves when the API server shows the node as ready. */
  ready(): Promise<void>;
}

export interface NodeSpec {
  /** Where everything of the node lies. */
  readonly folder: string;
  readonly controlPlane: ControlPlane;
  /** The first process of the node's namespaces, already linked to `network`. */
  readonly pid: number;
  readonly network: Network;
  /** Whether there is a way out (egress.ts), to resolvers too. */
  readonly hasEgress: boolean;
}

const readyCondition =
  '{range .status.conditions[?(@.type=="Ready")]}{.status} {.lastHeartbeatTime}{end}';

/** Starts what does not run of a node, and resolves when the node is ready: about 6 s. */
export async function startNode(spec: NodeSpec): Promise<Node> {
  const { folder, controlPlane, pid } = spec;
  const { name, kubeconfig } = controlPlane;
  const argv = await commandLines(spec);
  let kubeletSince = 0;
  const start = async (program: NodeProgram) => {
    if ((await runningProgram(folder, program)) !== undefined) return;
    if (program === "kubelet") kubeletSince = Date.now();
    await startProgram({
      name: program,
      argv: inNamespace(pid, argv[program]),
      folder,
      daemon: controlPlane.daemon,
    });
  };
  const node: Node = {
    name,
    kill: (program, signal = "SIGKILL") => endProgram(folder, program, signal),
    start,
    async restartKubelet() {
      await node.kill("kubelet");
      await start("kubelet");
    },
    async ready() {
      const isReady = async () => {
        const [status, heartbeat = ""] = (
          await kubectl(kubeconfig, ["get", "node", name, "-o", `jsonpath=${readyCondition}`])
        ).split(" ");
        // What a kubelet that was killed had last said is no news; times are in whole seconds.
        return status === "True" && Date.parse(heartbeat) >= Math.floor(kubeletSince / 1000) * 1000;
      };
      await waitUntil(isReady, {
        what: `node ${name}`,
        timeoutMs: 60_000,
        everyMs: 200,
        evidence: () => logTail(folder, "kubelet"),
      });
    },
  };
  await start("containerd");
  await applyObjects(kubeconfig, [...dnsManifests, ...(await localVolumes(folder, name))]);
  const evidence = () => logTail(folder, "containerd");
  await waitUntil(() => containerdAnswers(pid), {
    what: "containerd",
    timeoutMs: 30_000,
    everyMs: 100,
    evidence,
  });
  await importPauseImage(folder, pid);
  for (const program of nodePrograms) await start(program);
  await node.ready();
  return node;
}

/** Removes what ending the node's processes leaves: its link and its control groups. */
export async function removeNode(folder: string, name: string): Promise<void> {
  await endProgram(folder, namespaceProgram, "SIGKILL");
  await unlinkNetwork(folder);
  await removeCgroup(cgroupName(name));
}

async function commandLines({
  folder,
  controlPlane,
  network,
  hasEgress,
}: NodeSpec): Promise<Record<NodeProgram, string[]>> {
  const { name } = controlPlane;
  const pki = join(controlPlane.folder, "pki");
  const kubernetes = await binary("kubernetes");
  const ca = (await authority(pki)).cert;
  const nodeUser = { user: `system:node:${name}`, groups: ["system:nodes"] };
  const [kubelet, proxy, dns] = await Promise.all([
    userKubeconfig(controlPlane, "kubelet", nodeUser),
    userKubeconfig(controlPlane, "kube-proxy", { user: "system:kube-proxy" }),
    userKubeconfig(controlPlane, "coredns", { user: dnsUser }),
  ]);
  const serving = await servingCertificate(
    pki,
    "kubelet-server",
    [name, network.nodeAddress],
    nodeUser,
  );
  const cgroup = await makeCgroup(cgroupName(name));
  await writeCni(folder, network);
  return {
    containerd: await containerdCommand(folder, network),
    kubelet: [
      kubernetes,
      "kubelet",
      ...(await kubeletArgs({
        folder,
        nodeName: name,
        network,
        cgroup,
        kubeconfig: kubelet,
        ca,
        serving,
      })),
    ],
    "kube-proxy": [
      kubernetes,
      "kube-proxy",
      ...(await kubeProxyArgs(folder, name, network, proxy)),
    ],
    coredns: [kubernetes, "coredns", ...(await coreDnsArgs(folder, network, dns, hasEgress))],
  };
}

async function userKubeconfig(
  { folder, name, url, ca }: ControlPlane,
  program: string,
  subject: { user: string; groups?: string[] },
): Promise<string> {
  const pki = join(folder, "pki");
  const client = await clientCertificate(pki, program, subject);
  return writeKubeconfig({
    path: join(pki, `${program}.kubeconfig`),
    cluster: name,
    url,
    ca,
    client,
  });
}

/** The control group below which a node's pods lie. */
export function cgroupName(name: string): string {
  return `deeptrain-${name}`;
}
