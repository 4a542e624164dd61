// A control plane of one measurement: its own, so that no measurement feels another.

import { setTimeout as sleep } from "node:timers/promises";
import { type ControlPlane, startControlPlane } from "../../cluster/controlplane.ts";
import { applyObjects } from "../../demo/apply.ts";
import { installCrds } from "../../demo/install.ts";
import { DEFAULT_NAMESPACE } from "../../operator/manifests.ts";
import { Client } from "../../operator/runtime/client.ts";
import { type Connection, connect, loadConfiguration } from "../../operator/runtime/connection.ts";

export interface Bench {
  plane: ControlPlane;
  connection: Connection;
  client: Client;
  namespace: string;
}

/** A new API server is busy with roles and services of its own for some seconds after it says that it is ready. */
const SETTLED_AFTER_MS = 15_000;

/** Standard output is the result's alone. */
export const note = (line: string): void => console.error(line);

export async function withControlPlane<T>(
  name: string,
  measure: (bench: Bench) => Promise<T>,
): Promise<T> {
  const plane = await startControlPlane({ name: `bench-${name}`, say: note });
  const connection = await connect(() => loadConfiguration(plane.kubeconfig));
  const client = new Client(connection, { fieldManager: "deeptrain-benchmark" });
  try {
    await installCrds(client);
    // Of the operator's Lease.
    await applyObjects(client, [
      { apiVersion: "v1", kind: "Namespace", metadata: { name: DEFAULT_NAMESPACE } },
    ]);
    await sleep(SETTLED_AFTER_MS);
    return await measure({ plane, connection, client, namespace: "default" });
  } finally {
    await client.close();
    await plane.stop();
  }
}
