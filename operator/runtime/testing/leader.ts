// A process that leads: takes the Lease and writes as fast as it can while it holds it. For tests of leaders that are
// stopped and wake up again. Arguments: URL of the API server, identity.

import { KubeConfig } from "@kubernetes/client-node";
import { NotLeading } from "../apierror.ts";
import { Client } from "../client.ts";
import { connect } from "../connection.ts";
import { Lease } from "../lease.ts";
import { configMaps } from "./kinds.ts";

const [server = "", identity = ""] = process.argv.slice(2);
const configuration = new KubeConfig();
configuration.loadFromClusterAndUser(
  { name: "fake", server, skipTLSVerify: true },
  { name: identity },
);

let isHeld = (): boolean => false;
const client = new Client(await connect(() => configuration), {
  fieldManager: identity,
  mayWrite: () => isHeld(),
});
const lease = new Lease({
  client,
  name: { namespace: "system", name: "operator" },
  identity,
  // Long enough that a busy machine does not make it lose what nobody takes.
  durationMs: 4_500,
  deadlineMs: 3_000,
  renewMs: 150,
  onLost: () => process.exit(17),
});
isHeld = () => lease.isHeld();
await lease.acquire();
const data = { by: identity };
const metadata = { namespace: "test", name: `by-${identity}` };
for (let n = 0; ; n += 1) {
  try {
    const object = {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata,
      data: { ...data, n: String(n) },
    };
    await client.apply(configMaps, object);
  } catch (error) {
    if (!(error instanceof NotLeading)) throw error;
  }
  await new Promise((resolve) => setTimeout(resolve, 5));
}
