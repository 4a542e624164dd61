// The cluster that all end-to-end tests share: a node, our images, the operator. Started by the first test that asks
// (the project runs its files in one process, one after another), and ended with the process.

import { type Cluster, startCluster } from "../../cluster/cluster.ts";
import { kubectl } from "../../cluster/kubectl.ts";
import { applyObjects } from "../../demo/apply.ts";
import { operatorImage, trainerImage } from "../../demo/images.ts";
import { install } from "../../demo/install.ts";
import { clusterImage, type ImageRequest } from "../../demo/target.ts";
import { DEFAULT_NAMESPACE, type Installation } from "../../operator/manifests.ts";
import { Client } from "../../operator/runtime/client.ts";
import { type Connection, connect, loadConfiguration } from "../../operator/runtime/connection.ts";
import { type FileServer, startFileServer } from "./fileserver.ts";

export interface Environment {
  cluster: Cluster;
  client: Client;
  connection: Connection;
  installation: Installation;
  files: FileServer;
  kubectl(...args: string[]): Promise<string>;
  /** A new namespace whose name begins with `prefix`. */
  namespace(prefix: string): Promise<string>;
}

let shared: Promise<Environment> | undefined;

export function environment(): Promise<Environment> {
  shared ??= start();
  return shared;
}

async function start(): Promise<Environment> {
  const say = (line: string): void => console.log(line);
  const cluster = await startCluster({ name: "e2e", say });
  const images = { image: (request: ImageRequest) => clusterImage(request, say) };
  const installation: Installation = {
    namespace: DEFAULT_NAMESPACE,
    operatorImage: await operatorImage(images),
    trainerImage: await trainerImage(images),
    store: { size: "1Gi", accessMode: "ReadWriteOnce" },
    denyPrivateSources: false,
  };
  const connection = await connect(() => loadConfiguration(cluster.kubeconfig));
  const client = new Client(connection, { fieldManager: "deeptrain-test" });
  await install(client, installation);
  let namespaces = 0;
  return {
    cluster,
    client,
    connection,
    installation,
    files: await startFileServer(cluster.hostAddress),
    kubectl: (...args) => kubectl(cluster.kubeconfig, args),
    namespace: async (prefix) => {
      namespaces += 1;
      const name = `${prefix}-${namespaces}`;
      await applyObjects(client, [{ apiVersion: "v1", kind: "Namespace", metadata: { name } }]);
      return name;
    },
  };
}
