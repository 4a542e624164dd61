// The cluster's DNS, answering on the bridge's address. It runs beside the pods, not as one: no image is needed.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Network } from "./network.ts";
import { endProgram } from "./program.ts";

/** The user that CoreDNS is to the API server. */
export const dnsUser = "system:coredns";

/** Writes the configuration and gives back the arguments. A server that runs with another configuration is ended. */
export async function coreDnsArgs(
  folder: string,
  network: Network,
  kubeconfig: string,
  hasEgress: boolean,
): Promise<string[]> {
  const config = join(folder, "Corefile");
  const text = `cluster.local:53 in-addr.arpa:53 {
  bind ${network.gateway}
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig ${kubeconfig}
    pods insecure
    ttl 5
  }
}
.:53 {
  bind ${network.gateway}
${hasEgress ? forwarding(network) : refusing}
}
`;
  const before = await readFile(config, "utf8").catch(() => text);
  await writeFile(config, text);
  if (before !== text) await endProgram(folder, "coredns");
  return ["-conf", config];
}

const forwarding = ({ egress }: Network) => `  forward . ${egress.dns}
  cache 30`;

// There is no internet here: say so at once instead of waiting for a server that does not answer.
const refusing = `  template ANY ANY {
    rcode NXDOMAIN
  }`;

/** What the DNS server may read. */
export const dnsManifests = [
  {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRole",
    metadata: { name: dnsUser },
    rules: [
      {
        apiGroups: [""],
        resources: ["endpoints", "services", "pods", "namespaces"],
        verbs: ["list", "watch"],
      },
      { apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["list", "watch"] },
    ],
  },
  {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRoleBinding",
    metadata: { name: dnsUser },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: dnsUser },
    subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: dnsUser }],
  },
];
