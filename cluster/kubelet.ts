// The kubelet's configuration.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { containerdSocket } from "./containerd.ts";
import type { Network } from "./network.ts";

export interface KubeletSpec {
  readonly folder: string;
  readonly nodeName: string;
  readonly network: Network;
  readonly cgroup: string;
  /** Path of the kubeconfig by which it is system:node:<name>. */
  readonly kubeconfig: string;
  readonly ca: string;
  readonly serving: { readonly cert: string; readonly key: string };
}

/** Writes the configuration and gives back the arguments. */
export async function kubeletArgs(spec: KubeletSpec): Promise<string[]> {
  const { folder, nodeName, network, kubeconfig } = spec;
  const config = join(folder, "kubelet.json");
  await mkdir(join(folder, "kubelet"), { recursive: true });
  // Pods resolve the cluster's names only; the file this names is what a pod with dnsPolicy Default gets.
  await writeFile(join(folder, "resolv.conf"), `nameserver ${network.gateway}\n`);
  await writeFile(config, JSON.stringify(configuration(spec), undefined, 2));
  return [
    `--config=${config}`,
    `--kubeconfig=${kubeconfig}`,
    `--root-dir=${join(folder, "kubelet")}`,
    `--cert-dir=${join(folder, "kubelet", "pki")}`,
    `--hostname-override=${nodeName}`,
    `--node-ip=${network.nodeAddress}`,
  ];
}

function configuration({ folder, network, cgroup, ca, serving }: KubeletSpec): object {
  return {
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    address: network.nodeAddress,
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: ca },
    },
    authorization: { mode: "Webhook" },
    tlsCertFile: serving.cert,
    tlsPrivateKeyFile: serving.key,
    containerRuntimeEndpoint: `unix://${containerdSocket}`,
    cgroupDriver: "cgroupfs",
    cgroupRoot: cgroup,
    failCgroupV1: false,
    failSwapOn: false,
    enforceNodeAllocatable: [],
    // The disk and the memory are a developer's own: a nearly full one must not end his pods.
    evictionHard: {
      "memory.available": "50Mi",
      "nodefs.available": "1%",
      "imagefs.available": "1%",
      "nodefs.inodesFree": "1%",
    },
    imageGCHighThresholdPercent: 100,
    imageGCLowThresholdPercent: 99,
    clusterDomain: "cluster.local",
    clusterDNS: [network.gateway],
    resolvConf: join(folder, "resolv.conf"),
    volumePluginDir: join(folder, "kubelet", "plugins-exec"),
    serializeImagePulls: false,
    readOnlyPort: 0,
  };
}
