// The objects of the fake API server and the rules of their versions: what a write does, whoever sends it.

import { randomUUID } from "node:crypto";
import { ApiError } from "../apierror.ts";
import { isRecord, type KubeObject, type Metadata } from "../object.ts";
import { apiVersion, keyOf, nameOf, type Resource } from "../resource.ts";
import { applyPatch, isSame, mergePatch } from "./merge.ts";

export interface StoredKind {
  readonly resource: Resource;
  /** Status is written apart, and spec changes count generations. Default true. */
  readonly hasStatus?: boolean;
  /** What the API server fills in at creation, as CRD defaults. */
  readonly defaults?: (object: Readonly<Record<string, unknown>>) => Record<string, unknown>;
}

export interface LogEntry {
  readonly version: number;
  readonly plural: string;
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly object: KubeObject;
  readonly previous: KubeObject | undefined;
}

export type Write =
  | { readonly verb: "create" | "update"; readonly body: Record<string, unknown> }
  | { readonly verb: "patch"; readonly body: Record<string, unknown> }
  | { readonly verb: "apply"; readonly body: Record<string, unknown>; readonly manager: string };

export class Storage {
  readonly kinds: readonly StoredKind[];
  readonly #objects = new Map<string, Map<string, KubeObject>>();
  /** Last configuration by object UID, subresource and manager. */
  readonly #applied = new Map<string, unknown>();
  readonly log: LogEntry[] = [];
  readonly #listeners = new Set<(entry: LogEntry) => void>();
  /** Deleting an owner deletes what it owns, at once. */
  collectsGarbage = true;
  version = 1000;

  constructor(kinds: readonly StoredKind[]) {
    this.kinds = kinds;
    for (const { resource } of kinds) this.#objects.set(resource.plural, new Map());
  }

  onEntry(listener: (entry: LogEntry) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  all(of: Resource): KubeObject[] {
    return [...this.#of(of).values()].sort((a, b) =>
      keyOf(a.metadata) < keyOf(b.metadata) ? -1 : 1,
    );
  }

  get(of: Resource, key: string): KubeObject | undefined {
    return this.#of(of).get(key);
  }

  create(kind: StoredKind, namespace: string, body: Record<string, unknown>): KubeObject {
    const { resource } = kind;
    const given = isRecord(body.metadata) ? body.metadata : {};
    if (typeof given.name !== "string" || given.name === "") {
      throw new ApiError(422, "Invalid", "metadata.name: Required value");
    }
    const key = keyOf({ namespace, name: given.name });
    if (this.#of(resource).has(key)) {
      throw new ApiError(409, "AlreadyExists", `${resource.plural} "${given.name}" already exists`);
    }
    const metadata = {
      ...given,
      name: given.name,
      ...(resource.namespaced ? { namespace } : {}),
      uid: randomUUID(),
      creationTimestamp: new Date().toISOString().replace(/\.\d+Z$/, "Z"),
      generation: 1,
      resourceVersion: "",
    };
    const content = kind.hasStatus === false ? body : { ...body, status: undefined };
    const object = {
      ...(kind.defaults ?? ((same) => ({ ...same })))(content),
      apiVersion: apiVersion(resource),
      kind: resource.kind,
      metadata,
    };
    return this.#commit(resource, "ADDED", object, undefined);
  }

  write(kind: StoredKind, key: string, sub: "" | "status", write: Write): KubeObject {
    const { resource } = kind;
    const old = this.#of(resource).get(key);
    if (old === undefined) {
      if (write.verb === "apply" && sub === "") {
        const made = this.create(kind, nameOf(key).namespace, write.body);
        this.#applied.set(`${made.metadata.uid}//${write.manager}`, owned(write.body, sub));
        return made;
      }
      throw new ApiError(404, "NotFound", `${resource.plural} "${nameOf(key).name}" not found`);
    }
    checkPreconditions(old, isRecord(write.body.metadata) ? write.body.metadata : {}, resource);
    const changed = this.#changed(old, sub, write);
    const next = this.#merged(kind, old, changed, sub);
    if (isSame(next, old)) return old;
    return this.#commit(resource, "MODIFIED", next, old);
  }

  /** Returns what is left: undefined when the object is gone. */
  remove(
    of: Resource,
    key: string,
    options: { uid?: unknown; resourceVersion?: unknown; propagationPolicy?: unknown } = {},
  ): KubeObject | undefined {
    const old = this.#of(of).get(key);
    if (old === undefined) {
      throw new ApiError(404, "NotFound", `${of.plural} "${nameOf(key).name}" not found`);
    }
    checkPreconditions(old, options, of);
    const finalizers = finalizersOf(old);
    const foreground = options.propagationPolicy === "Foreground" && this.#isHeldBack(old);
    if (finalizers.length > 0 || foreground) {
      const deletionTimestamp = old.metadata.deletionTimestamp ?? new Date().toISOString();
      const going = { ...old, metadata: { ...old.metadata, deletionTimestamp } };
      const left =
        old.metadata.deletionTimestamp === undefined
          ? this.#commit(of, "MODIFIED", going, old)
          : old;
      if (!foreground) return left;
      this.#collect(old);
      return finalizers.length > 0 ? left : this.#gone(of, key, left);
    }
    this.#gone(of, key, old);
    if (options.propagationPolicy !== "Orphan") this.#collect(old);
    return undefined;
  }

  #gone(of: Resource, key: string, old: KubeObject): undefined {
    this.#of(of).delete(key);
    this.version += 1;
    const metadata = { ...old.metadata, resourceVersion: String(this.version) };
    this.#enter(of, "DELETED", { ...old, metadata }, old);
  }

  #collect(owner: KubeObject): void {
    if (!this.collectsGarbage) return;
    for (const [of, object] of this.#owned(owner)) {
      if (this.#of(of).has(keyOf(object.metadata))) this.remove(of, keyOf(object.metadata));
    }
  }

  /** Owners wait for those of their dependants alone that say so. */
  #isHeldBack({ metadata: { uid } }: KubeObject): boolean {
    return this.kinds.some(({ resource }) =>
      this.all(resource).some(({ metadata }) =>
        metadata.ownerReferences?.some((each) => each.uid === uid && each.blockOwnerDeletion),
      ),
    );
  }

  #owned(owner: KubeObject): Array<[Resource, KubeObject]> {
    return this.kinds.flatMap(({ resource }) =>
      this.all(resource)
        .filter(({ metadata }) =>
          metadata.ownerReferences?.some(({ uid }) => uid === owner.metadata.uid),
        )
        .map((object): [Resource, KubeObject] => [resource, object]),
    );
  }

  #changed(old: KubeObject, sub: string, write: Write): unknown {
    if (write.verb === "patch") return mergePatch(old, write.body);
    if (write.verb !== "apply") return write.body;
    const slot = `${old.metadata.uid}/${sub}/${write.manager}`;
    const applied = owned(write.body, sub);
    const changed = applyPatch(old, applied, this.#applied.get(slot));
    this.#applied.set(slot, applied);
    return changed;
  }

  #merged(kind: StoredKind, old: KubeObject, changed: unknown, sub: string): KubeObject {
    const next = isRecord(changed) ? changed : {};
    if (sub === "status") return { ...old, status: next.status };
    const given = isRecord(next.metadata) ? next.metadata : {};
    const hasStatus = kind.hasStatus !== false;
    const content: Record<string, unknown> = {
      ...next,
      ...(hasStatus ? { status: old.status } : {}),
      apiVersion: old.apiVersion,
      kind: old.kind,
    };
    if (content.status === undefined) delete content.status;
    const { uid, name, namespace, deletionTimestamp, resourceVersion } = old.metadata;
    const fixed = { uid, name, namespace, deletionTimestamp, resourceVersion };
    const metadata: Record<string, unknown> & Metadata = { ...given, ...fixed };
    const before: Record<string, unknown> = { ...old, metadata: undefined, status: undefined };
    const after: Record<string, unknown> = { ...content, metadata: undefined, status: undefined };
    const oldMetadata: Record<string, unknown> = { ...old.metadata };
    const generation = typeof oldMetadata.generation === "number" ? oldMetadata.generation : 1;
    metadata.generation = isSame(before, after) ? generation : generation + 1;
    metadata.creationTimestamp = oldMetadata.creationTimestamp;
    for (const field of Object.keys(metadata)) {
      if (metadata[field] === undefined) delete metadata[field];
    }
    return { ...content, metadata };
  }

  #commit(
    of: Resource,
    type: "ADDED" | "MODIFIED",
    object: KubeObject,
    previous: KubeObject | undefined,
  ): KubeObject {
    this.version += 1;
    // What is stored is JSON: no undefined fields, and nobody else's references.
    const stored: KubeObject = JSON.parse(
      JSON.stringify({
        ...object,
        metadata: { ...object.metadata, resourceVersion: String(this.version) },
      }),
    );
    const key = keyOf(stored.metadata);
    const isReleased =
      stored.metadata.deletionTimestamp !== undefined && finalizersOf(stored).length === 0;
    if (isReleased && previous !== undefined && finalizersOf(previous).length > 0) {
      this.#gone(of, key, stored);
      return stored;
    }
    this.#of(of).set(key, stored);
    this.#enter(of, type, stored, previous);
    return stored;
  }

  #enter(
    of: Resource,
    type: LogEntry["type"],
    object: KubeObject,
    previous: KubeObject | undefined,
  ): void {
    const entry = { version: this.version, plural: of.plural, type, object, previous };
    this.log.push(entry);
    for (const listener of this.#listeners) listener(entry);
  }

  #of({ plural }: Resource): Map<string, KubeObject> {
    const objects = this.#objects.get(plural);
    if (objects === undefined) throw new ApiError(404, "NotFound", `no resource ${plural}`);
    return objects;
  }
}

const checkPreconditions = (
  old: KubeObject,
  { uid, resourceVersion }: { uid?: unknown; resourceVersion?: unknown },
  of: Resource,
): void => {
  const { metadata } = old;
  const isOther =
    (uid !== undefined && uid !== metadata.uid) ||
    (resourceVersion !== undefined &&
      resourceVersion !== "" &&
      resourceVersion !== metadata.resourceVersion);
  if (isOther) {
    throw new ApiError(409, "Conflict", `${of.plural} "${metadata.name}": the object was modified`);
  }
};

/** The part of a configuration that its manager comes to own. */
const owned = (body: Record<string, unknown>, sub: string): Record<string, unknown> => {
  if (sub === "status") return { status: body.status };
  const given = isRecord(body.metadata) ? body.metadata : {};
  const { labels, annotations, ownerReferences, finalizers } = given;
  const metadata: Record<string, unknown> = { labels, annotations, ownerReferences, finalizers };
  for (const [field, value] of Object.entries(metadata)) {
    if (value === undefined) delete metadata[field];
  }
  const rest: Record<string, unknown> = { ...body, metadata };
  delete rest.status;
  return rest;
};

const finalizersOf = (object: KubeObject): unknown[] => {
  const metadata: Record<string, unknown> = { ...object.metadata };
  return Array.isArray(metadata.finalizers) ? metadata.finalizers : [];
};
