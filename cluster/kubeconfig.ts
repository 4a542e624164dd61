// Kubeconfig files: how a client reaches a cluster's API server, and as whom.
import { readFile, writeFile } from "node:fs/promises";
import type { Certificate } from "./certificates.ts";

export interface KubeconfigSpec {
  readonly path: string;
  /** Shown as the context's name. */
  readonly cluster: string;
  readonly url: string;
  /** Path of the authority's certificate. */
  readonly ca: string;
  readonly client: Certificate;
}

/** Writes a kubeconfig with everything inside, readable by its owner only, and gives back its path. */
export async function writeKubeconfig({
  path,
  cluster,
  url,
  ca,
  client,
}: KubeconfigSpec): Promise<string> {
  const [caData, certData, keyData] = await Promise.all(
    [ca, client.cert, client.key].map((file) => readFile(file, "base64")),
  );
  const lines = [
    "apiVersion: v1",
    "kind: Config",
    `current-context: ${cluster}`,
    `contexts: [{ name: ${cluster}, context: { cluster: ${cluster}, user: ${cluster} } }]`,
    "clusters:",
    `  - name: ${cluster}`,
    `    cluster: { server: "${url}", certificate-authority-data: ${caData} }`,
    "users:",
    `  - name: ${cluster}`,
    `    user: { client-certificate-data: ${certData}, client-key-data: ${keyData} }`,
  ];
  await writeFile(path, `${lines.join("\n")}\n`, { mode: 0o600 });
  return path;
}
