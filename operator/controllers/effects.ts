// Carries out what a planner decided. A create that is refused for good becomes a value that the planner judges;
// whatever is worth repeating throws, and the queue repeats it.

import { STORE_CLAIM } from "../../api/group.ts";
import type { Effect, Manifest, Refusal } from "../plan/plan.ts";
import { type ApiError, isAlreadyExists, isConflict, isRefused } from "../runtime/apierror.ts";
import type { Client } from "../runtime/client.ts";
import type { KubeObject } from "../runtime/object.ts";
import { keyOf, type Resource } from "../runtime/resource.ts";
import { type Caches, claims, jobs, modelVersions } from "./kinds.ts";

export interface Applied {
  created: boolean;
  refusals: Refusal[];
}

const resources: Record<Manifest["kind"], Resource> = {
  Job: jobs,
  ModelVersion: modelVersions,
  PersistentVolumeClaim: claims,
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
): Promise<Refusal | undefined> => {
  try {
    await client.create(resources[object.kind], object);
    return undefined;
  } catch (error) {
    if (isAlreadyExists(error)) return taken(client, caches, object);
    if (isRefused(error)) return refusal(object, error);
    throw error;
  }
};

/** Ours, from before this process began or from a write whose answer was lost; or somebody else's. */
const taken = async (
  client: Client,
  caches: Caches,
  object: Manifest,
): Promise<Refusal | undefined> => {
  const { kind } = object;
  const { name, namespace } = object.metadata;
  // The store's claim belongs to nobody.
  if (kind === "PersistentVolumeClaim") return undefined;
  const found = await client.get(resources[kind], { namespace, name });
  const owner = object.metadata.ownerReferences?.[0]?.uid ?? "";
  if (found === undefined) throw new Error(`${kind} ${namespace}/${name} came and went`);
  if (!isOwned(found, owner)) {
    return {
      kind,
      name,
      reason: "NameConflict",
      message: `a ${kind} ${name} exists that is not ours; delete or rename it`,
    };
  }
  if (found.metadata.deletionTimestamp !== undefined) {
    throw new Error(`${kind} ${namespace}/${name} is still being deleted`);
  }
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

const isOwned = ({ metadata }: KubeObject, uid: string): boolean =>
  metadata.ownerReferences?.some((owner) => owner.controller === true && owner.uid === uid) ===
  true;

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
