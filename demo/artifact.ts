// Fetches a trained model out of the store: a Pod mounts its directory read-only and serves it over HTTP, and the
// API server's proxy brings the files here. Works with any cluster whose API server reaches its pods.

import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { request } from "undici";
import { z } from "zod";
import { STORE_CLAIM } from "../api/group.ts";
import type { ModelVersion } from "../api/modelversion.ts";
import type { Client } from "../operator/runtime/client.ts";
import type { Connection } from "../operator/runtime/connection.ts";
import type { Manifest } from "../operator/runtime/object.ts";
import { resource } from "../operator/runtime/resource.ts";
import { applyObjects } from "./apply.ts";
import { until } from "./install.ts";
import { confined, hardened } from "./photoserver.ts";

const PORT = 8000;
const podResource = resource("", "v1", "Pod", "pods");

function readerPod(name: string, image: string, subPath: string): Manifest {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name },
    spec: {
      restartPolicy: "Never",
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 0,
      securityContext: { ...hardened, fsGroup: 65532 },
      containers: [
        {
          name: "reader",
          image,
          command: ["python3", "-m", "http.server", String(PORT), "--directory", "/artifact"],
          securityContext: confined,
          readinessProbe: { tcpSocket: { port: PORT }, periodSeconds: 1 },
          volumeMounts: [{ name: "store", mountPath: "/artifact", subPath, readOnly: true }],
        },
      ],
      volumes: [{ name: "store", persistentVolumeClaim: { claimName: STORE_CLAIM } }],
    },
  };
}

const ArtifactManifest = z.looseObject({
  files: z.array(z.looseObject({ path: z.string(), digest: z.string() })),
});
const Ready = z.looseObject({
  status: z
    .looseObject({
      conditions: z.array(z.looseObject({ type: z.string(), status: z.string() })).nullish(),
    })
    .optional(),
});

/** Writes the artifact's files below `folder`. Throws where they are not those that the status names. */
export async function fetchArtifact(
  { client, connection }: { client: Client; connection: Connection },
  version: ModelVersion,
  image: string,
  folder: string,
): Promise<void> {
  const artifact = version.status?.artifact;
  if (artifact === undefined) throw new Error(`${version.metadata.name} has no artifact`);
  const { namespace } = version.metadata;
  const name = `${version.metadata.name}-reader`;
  const [pod] = await applyObjects(client, [readerPod(name, image, artifact.path)], namespace);
  try {
    await until(`pod ${name} is ready`, 120_000, async () => {
      const { status } = Ready.parse((await client.get(podResource, { namespace, name })) ?? {});
      return status?.conditions?.some((c) => c.type === "Ready" && c.status === "True") ?? false;
    });
    const read = (file: string) => throughProxy(connection, namespace, name, file);
    for (const [file, content] of await verifiedFiles(read, artifact.digest)) {
      await mkdir(dirname(join(folder, file)), { recursive: true });
      await writeFile(join(folder, file), content);
    }
  } finally {
    if (pod !== undefined) {
      await client.delete(podResource, { namespace, name }, { uid: pod.metadata.uid });
    }
  }
}

/**
 * The manifest and all files that it names. Throws where one is not what was published: the status holds the manifest's digest,
 * the manifest those of the files.
 */
export async function verifiedFiles(
  read: (file: string) => Promise<Buffer>,
  manifestDigest: string,
): Promise<Map<string, Buffer>> {
  const verified = async (file: string, expected: string): Promise<Buffer> => {
    const content = await read(file);
    const digest = `sha256:${createHash("sha256").update(content).digest("hex")}`;
    if (digest !== expected) throw new Error(`${file}: ${digest}, expected ${expected}`);
    return content;
  };
  const manifest = await verified("manifest.json", manifestDigest);
  const found = new Map([["manifest.json", manifest]]);
  const { files } = ArtifactManifest.parse(JSON.parse(manifest.toString("utf8")));
  for (const { path, digest } of files) found.set(path, await verified(path, digest));
  return found;
}

async function throughProxy(
  connection: Connection,
  namespace: string,
  pod: string,
  file: string,
): Promise<Buffer> {
  const path = `/api/v1/namespaces/${namespace}/pods/${pod}:${PORT}/proxy/${file}`;
  const { statusCode, body } = await request(`${connection.origin}${connection.basePath}${path}`, {
    dispatcher: connection.dispatcher,
    headers: { ...(await connection.headers()) },
  });
  const bytes = Buffer.from(await body.arrayBuffer());
  if (statusCode !== 200) throw new Error(`${file}: HTTP ${statusCode} ${bytes.toString("utf8")}`);
  return bytes;
}
