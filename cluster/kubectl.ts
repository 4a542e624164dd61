// kubectl of the cluster's own version.
import { binary } from "./binaries.ts";
import { command } from "./command.ts";

/** Runs kubectl with a kubeconfig and gives back what it printed. */
export async function kubectl(
  kubeconfig: string,
  args: readonly string[],
  input?: string,
): Promise<string> {
  // The API server is on this machine, where no proxy leads.
  const env = { KUBECONFIG: kubeconfig, NO_PROXY: "*", no_proxy: "*" };
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
