// kube-proxy's configuration: services by nftables, in the node's network namespace and so never in this machine's tables.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Network } from "./network.ts";

/** Writes the configuration and gives back the arguments. */
export async function kubeProxyArgs(
  folder: string,
  nodeName: string,
  network: Network,
  kubeconfig: string,
): Promise<string[]> {
  const config = join(folder, "kube-proxy.json");
  const configuration = {
    apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    mode: "nftables",
    clientConnection: { kubeconfig },
    clusterCIDR: network.podCidr,
    hostnameOverride: nodeName,
    conntrack: { maxPerCore: 0, min: 0 }, // these are limits of the whole machine
  };
  const text = JSON.stringify(configuration, undefined, 2);
  // A running kube-proxy ends itself when its file is written, be it the same.
  const before = await readFile(config, "utf8").catch(() => undefined);
  if (text !== before) await writeFile(config, text);
  return [`--config=${config}`];
}
