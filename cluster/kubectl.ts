// kubectl of the cluster's own version.
import { dirname, join } from "node:path";
import { binary } from "./binaries.ts";
import { command } from "./command.ts";

/** A folder beside the kubeconfig, for what kubectl keeps of an API server. */
export const KUBECTL_CACHE = "kubectl";

/** What kubectl needs for one of our clusters. */
export const kubectlEnvironment = (kubeconfig: string): Record<string, string> => ({
  KUBECONFIG: kubeconfig,
  // By default it keeps the kinds of all API servers by host and port, for hours: ports of clusters are used again.
  KUBECACHEDIR: join(dirname(kubeconfig), KUBECTL_CACHE),
  // The API server is on this machine, where no proxy leads.
  NO_PROXY: "*",
  no_proxy: "*",
});

/** Runs kubectl with a kubeconfig and gives back what it printed. */
export async function kubectl(
  kubeconfig: string,
  args: readonly string[],
  input?: string,
): Promise<string> {
  const env = kubectlEnvironment(kubeconfig);
  const options = { env, ...(input === undefined ? {} : { input }) };
  return command(await binary("kubernetes"), ["kubectl", ...args], options);
}

/** Applies objects as the cluster's installer. */
export async function applyObjects(kubeconfig: string, objects: readonly object[]): Promise<void> {
  const list = JSON.stringify({ apiVersion: "v1", kind: "List", items: objects });
  await kubectl(
    kubeconfig,
    ["apply", "--server-side", "--field-manager=deeptrain-cluster", "-f", "-"],
    list,
  );
}
