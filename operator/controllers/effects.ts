// Carries out what a planner decided. A create that is refused for good becomes a value that the planner judges;
// whatever is worth repeating throws, and the queue repeats it.

import { STORE_CLAIM } from "../../api/group.ts";
import { OwnerReference } from "../../api/objectmeta.ts";
import type { Effect, Manifest, Refusal } from "../plan/plan.ts";
import {
  type ApiError,
  isAlreadyExists,
  isConflict,
  isInternal,
  isRefused,
} from "../runtime/apierror.ts";
import type { Client } from "../runtime/client.ts";
import type { KubeObject } from "../runtime/object.ts";
import { keyOf, type Resource } from "../runtime/resource.ts";
import { type Caches, claims, jobs, modelVersions, networkPolicies, services } from "./kinds.ts";

export interface Applied {
  created: boolean;
  refusals: Refusal[];
}

const resources: Record<Manifest["kind"], Resource> = {
  Job: jobs,
  ModelVersion: modelVersions,
  PersistentVolumeClaim: claims,
  Service: services,
  NetworkPolicy: networkPolicies,
};

/** In their order; what follows a refused create is left out. */
export const applyEffects = async (
  client: Client,
  caches: Caches,
  effects: readonly Effect[],
): Promise<Applied> => {
  let created = false;
  for (const effect of effects) {
    if (effect.verb === "delete") {
      await remove(client, effect);
      continue;
    }
    const refusal = await create(client, caches, effect.object);
    if (refusal !== undefined) return { created, refusals: [refusal] };
    created = true;
  }
  return { created, refusals: [] };
};

const remove = async (client: Client, effect: Extract<Effect, { verb: "delete" }>) => {
  const { namespace, name, uid, foreground } = effect;
  try {
    await client.delete(
      resources[effect.kind],
      { namespace, name },
      { uid, propagationPolicy: foreground ? "Foreground" : "Background" },
    );
  } catch (error) {
    // Another object has the name by now: ours is gone.
    if (!isConflict(error)) throw error;
  }
};

const create = async (
  client: Client,
  caches: Caches,
  object: Manifest,
  isAgain = false,
): Promise<Refusal | undefined> => {
  try {
    await client.create(resources[object.kind], object);
    return undefined;
  } catch (error) {
    if (isRefused(error) || isWithoutWebhook(error)) return refusal(object, error);
    if (!isAlreadyExists(error)) throw error;
  }
  // The store's claim belongs to nobody.
  if (object.kind === "PersistentVolumeClaim") return undefined;
  const { name, namespace } = object.metadata;
  const found = await client.get(resources[object.kind], { namespace, name });
  if (found !== undefined) return taken(caches, object, found);
  if (isAgain) throw new Error(`${object.kind} ${namespace}/${name} comes and goes`);
  return create(client, caches, object, true);
};

/** Ours, from before this process began or from a write whose answer was lost; or somebody else's. */
const taken = (caches: Caches, object: Manifest, found: KubeObject): Refusal | undefined => {
  const { kind } = object;
  const { name, namespace } = object.metadata;
  const owner = object.metadata.ownerReferences?.[0];
  if (found.metadata.deletionTimestamp !== undefined) {
    const message = `waiting until the ${kind} ${name}, which is being deleted, is gone`;
    return { kind, name, reason: "Creating", message };
  }
  const controller = found.metadata.ownerReferences?.find((each) => each.controller === true);
  if (owner === undefined || controller?.uid !== owner.uid) {
    if (owner !== undefined && isNamesake(controller, owner)) {
      const message = `waiting until the ${kind} ${name} of a deleted ${owner.kind} ${owner.name} is removed`;
      return { kind, name, reason: "Creating", message };
    }
    return {
      kind,
      name,
      reason: "NameConflict",
      message: `a ${kind} ${name} exists that is not ours; delete or rename it`,
    };
  }
  // Nothing of it is read.
  if (kind === "Service" || kind === "NetworkPolicy") return undefined;
  if (kind === "Job") caches.jobs.put(found);
  else caches.versions.put(found);
  const cache = kind === "Job" ? caches.jobs : caches.versions;
  if (!cache.has(keyOf({ namespace, name }))) {
    return {
      kind,
      name,
      reason: "NameConflict",
      message: `the ${kind} ${name} has lost the label by which it is found; delete it`,
    };
  }
  return undefined;
};

/** An earlier object of our owner's name: it is gone, and the garbage collector has not come to what it owned yet. */
const isNamesake = (controller: unknown, owner: OwnerReference): boolean => {
  const { data } = OwnerReference.safeParse(controller);
  return data?.kind === owner.kind && data.name === owner.name && groupOf(data) === groupOf(owner);
};

const groupOf = ({ apiVersion }: OwnerReference): string => apiVersion.split("/")[0] ?? "";

/** Kueue's, say, while it is restarted: it may take long to come back, and nothing else would tell why nothing begins. */
const isWithoutWebhook = (error: unknown): error is ApiError =>
  isInternal(error) && /failed calling webhook/.test(error.message);

const refusal = ({ kind, metadata }: Manifest, error: ApiError): Refusal => ({
  kind,
  name: metadata.name,
  reason: /exceeded quota/.test(error.message)
    ? "QuotaExceeded"
    : /cannot create resource/.test(error.message)
      ? "AccessDenied"
      : "AdmissionDenied",
  message: `the ${kind} ${metadata.name} is refused: ${error.message}`,
});

/** Claims by namespace, read when they are needed and believed for a while: they rarely change. */
export class StoreClaims {
  readonly #client: Client;
  readonly #known = new Map<string, { at: number; object: KubeObject | undefined }>();

  constructor(client: Client) {
    this.#client = client;
  }

  async get(namespace: string): Promise<KubeObject | undefined> {
    const known = this.#known.get(namespace);
    // That there is none is never believed: it may have been created since.
    if (known?.object !== undefined && performance.now() - known.at < CLAIMS_FOR_MS) {
      return known.object;
    }
    const object = await this.#client.get(claims, { namespace, name: STORE_CLAIM });
    this.#known.set(namespace, { at: performance.now(), object });
    return object;
  }
}

const CLAIMS_FOR_MS = 60_000;
