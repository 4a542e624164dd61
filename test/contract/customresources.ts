// Requests to an API server that has our CustomResourceDefinitions: raw, so that no client adds to a body or leaves
// out of it.

import type { IncomingMessage } from "node:http";
import { type RequestOptions, request } from "node:https";
import { KubeConfig } from "@kubernetes/client-node";
import { z } from "zod";
import { customResourceDefinition, kinds } from "../../api/crd.ts";
import { GROUP, VERSION } from "../../api/group.ts";

const Status = z.looseObject({
  message: z.string().optional(),
  details: z
    .looseObject({
      causes: z
        .array(z.looseObject({ field: z.string().optional(), message: z.string().optional() }))
        .optional(),
    })
    .optional(),
});

export interface Answer {
  code: number;
  body: Record<string, unknown>;
  /** Fields that a refusal names, in the order of the answer. */
  fields: string[];
  /** The text of a refusal. */
  message: string;
}

export interface ApiServer {
  call(method: string, path: string, body?: unknown, contentType?: string): Promise<Answer>;
}

const read = async (response: IncomingMessage): Promise<Answer> => {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(Buffer.from(chunk));
  const body = z
    .record(z.string(), z.unknown())
    .parse(JSON.parse(Buffer.concat(chunks).toString()));
  const code = response.statusCode ?? 0;
  if (code < 400) return { code, body, fields: [], message: "" };
  const { message = "", details } = Status.parse(body);
  const fields = details?.causes?.map(({ field = "" }) => field) ?? [];
  return { code, body, fields, message };
};

/** A client by kubeconfig; throws only when there is no answer. */
export const apiServer = async (kubeconfigPath: string): Promise<ApiServer> => {
  const kubeconfig = new KubeConfig();
  kubeconfig.loadFromFile(kubeconfigPath);
  const server = kubeconfig.getCurrentCluster()?.server;
  if (server === undefined) throw new Error(`${kubeconfigPath} names no cluster`);
  const options: RequestOptions = {};
  await kubeconfig.applyToHTTPSOptions(options);
  return {
    call: (method, path, body, contentType = "application/json") =>
      new Promise((resolve, reject) => {
        const sent = request(
          new URL(path, server),
          { ...options, method, headers: { "Content-Type": contentType } },
          (response) => read(response).then(resolve, reject),
        );
        sent.once("error", reject);
        sent.end(body === undefined ? undefined : JSON.stringify(body));
      }),
  };
};

/** Path of the objects of a kind in the namespace `default`. */
export const collection = (kind: string): string => {
  const plural = kinds.find((candidate) => candidate.kind === kind)?.plural;
  if (plural === undefined) throw new Error(`No kind ${kind}`);
  return `/apis/${GROUP}/${VERSION}/namespaces/default/${plural}`;
};

const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/** Applies the definition of a kind, in place of the one that is there. */
export const applyDefinition = async (
  api: ApiServer,
  definition: ReturnType<typeof customResourceDefinition>,
): Promise<void> => {
  const answer = await api.call(
    "PATCH",
    `${definitions}/${definition.metadata.name}?fieldManager=test&force=true`,
    definition,
    "application/apply-patch+yaml",
  );
  if (answer.code >= 300)
    throw new Error(`${definition.metadata.name}: ${answer.code} ${answer.message}`);
};

const Paths = z.looseObject({ paths: z.record(z.string(), z.unknown()).optional() });

/** Creates our kinds, and resolves when they are served, and described: `kubectl explain` reads that a second later. */
export const installKinds = async (api: ApiServer): Promise<void> => {
  for (const kind of kinds) await applyDefinition(api, customResourceDefinition(kind));
  for (const { kind } of kinds) {
    await untilTrue(`${kind} is not served`, async () => {
      const { code } = await api.call("GET", collection(kind));
      return code === 200;
    });
  }
  await untilTrue(`${GROUP}/${VERSION} is not described`, async () => {
    const { body } = await api.call("GET", "/openapi/v3");
    return Paths.parse(body).paths?.[`apis/${GROUP}/${VERSION}`] !== undefined;
  });
};

const untilTrue = async (otherwise: string, claim: () => Promise<boolean>): Promise<void> => {
  const deadline = Date.now() + 30_000;
  while (!(await claim())) {
    if (Date.now() > deadline) throw new Error(`${otherwise} after 30 s`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};
