// `kubectl apply --server-side` for objects of any kind: asks the API server which resource a kind is.

import { readFile } from "node:fs/promises";
import { parseAllDocuments } from "yaml";
import { z } from "zod";
import type { Client } from "../operator/runtime/client.ts";
import type { KubeObject, Manifest } from "../operator/runtime/object.ts";
import { type Resource, resource } from "../operator/runtime/resource.ts";

const ResourceList = z.object({
  resources: z.array(z.object({ name: z.string(), kind: z.string(), namespaced: z.boolean() })),
});

/** The resource whose objects say this apiVersion and kind. Throws where the cluster has none. */
export async function discover(
  client: Client,
  { apiVersion, kind }: { apiVersion: string; kind: string },
): Promise<Resource> {
  const slash = apiVersion.indexOf("/");
  const group = slash === -1 ? "" : apiVersion.slice(0, slash);
  const version = apiVersion.slice(slash + 1);
  const path = group === "" ? `/api/${version}` : `/apis/${group}/${version}`;
  const { resources } = ResourceList.parse(await client.request({ method: "GET", path }));
  const found = resources.find((entry) => entry.kind === kind && !entry.name.includes("/"));
  if (found === undefined) throw new Error(`the cluster has no ${kind} in ${apiVersion}`);
  return resource(group, version, kind, found.name, found.namespaced);
}

/** Applies the objects one after another; `namespace` is for those that name none. */
export async function applyObjects(
  client: Client,
  objects: Manifest[],
  namespace?: string,
): Promise<KubeObject[]> {
  const applied: KubeObject[] = [];
  for (const object of objects) {
    const of = await discover(client, object);
    const place = of.namespaced ? (object.metadata.namespace ?? namespace) : undefined;
    const metadata = { ...object.metadata, ...(place === undefined ? {} : { namespace: place }) };
    applied.push(await client.apply(of, { ...object, metadata }));
  }
  return applied;
}

const Document = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({ name: z.string(), namespace: z.string().optional() }),
});

/** The Kubernetes objects of a YAML file. */
export async function readManifests(file: string): Promise<Manifest[]> {
  const documents = parseAllDocuments(await readFile(file, "utf8"));
  return documents.map((document) => {
    if (document.errors.length > 0) throw new Error(`${file}: ${document.errors[0]?.message}`);
    const { metadata, ...rest } = Document.parse(document.toJS());
    const { namespace, ...others } = metadata;
    return { ...rest, metadata: { ...others, ...(namespace === undefined ? {} : { namespace }) } };
  });
}
