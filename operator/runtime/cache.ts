// Copies of one kind's objects, parsed, frozen and indexed. Fed by a watch and by this process's own writes; an object
// never goes back to an older version, and a deleted one never comes back.

import {
  compareVersions,
  deepFreeze,
  type KubeObject,
  type Metadata,
  withoutBookkeeping,
} from "./object.ts";
import { keyOf, type Resource } from "./resource.ts";

/** The least that a parsed object keeps. */
export interface Stored {
  readonly metadata: Metadata;
}

export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problem: string };

export interface Change<T> {
  readonly key: string;
  /** Absent: it was not there, or could not be parsed. */
  readonly before?: T;
  /** Absent: it is gone, or cannot be parsed (then `problem` says why). */
  readonly after?: T;
  readonly problem?: string;
  /** True while the first list is read: nobody is waiting for the answer. */
  readonly initial: boolean;
}

export interface CacheOptions<T extends Stored> {
  readonly resource: Resource;
  /** Only objects with all of these labels are here. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Keeps what the controllers read, and nothing else. What it throws counts as a problem of that object. */
  readonly parse: (object: KubeObject) => Parsed<T>;
  /** Named lists of values for an object, read with `by`. */
  readonly indexes?: Readonly<Record<string, (object: T) => readonly string[]>>;
  /** What a listener threw. Default: ignored. */
  readonly onError?: (error: unknown, key: string) => void;
}

interface Entry<T> {
  readonly uid: string;
  readonly resourceVersion: string;
  readonly value: T | undefined;
  readonly problem: string | undefined;
}

/** Deleted objects that are remembered, so that a late copy of one is known for what it is. */
const TOMBSTONES = 10_000;
const FOREVER = "";

export class Cache<T extends Stored> {
  readonly resource: Resource;
  readonly labels: Readonly<Record<string, string>>;
  readonly #parse: (object: KubeObject) => Parsed<T>;
  readonly #indexes: Readonly<Record<string, (object: T) => readonly string[]>>;
  readonly #onError: (error: unknown, key: string) => void;
  readonly #entries = new Map<string, Entry<T>>();
  readonly #indexed = new Map<string, Map<string, Set<string>>>();
  /** Version at which an object was deleted, by its UID. */
  readonly #tombstones = new Map<string, string>();
  readonly #listeners = new Set<(change: Change<T>) => void>();
  #synced = false;

  constructor(options: CacheOptions<T>) {
    this.resource = options.resource;
    this.labels = options.labels ?? {};
    this.#parse = options.parse;
    this.#indexes = { ...options.indexes, [OWNER]: controllerOf };
    this.#onError = options.onError ?? (() => undefined);
    for (const name of Object.keys(this.#indexes)) this.#indexed.set(name, new Map());
  }

  /** True once the first list was read whole. */
  get synced(): boolean {
    return this.#synced;
  }
  get size(): number {
    return this.#entries.size;
  }

  /** The object, frozen. Undefined also where it cannot be parsed: see `problem`. */
  get(key: string): T | undefined {
    return this.#entries.get(key)?.value;
  }

  /** Why the object of this key cannot be parsed; undefined where it can, or is not there. */
  problem(key: string): string | undefined {
    return this.#entries.get(key)?.problem;
  }

  /** True for an object that exists, parsed or not. */
  has(key: string): boolean {
    return this.#entries.has(key);
  }

  /** Objects that an index gives for a value, in order of their keys. */
  by(index: string, value: string): T[] {
    const keys = this.#indexOf(index).get(value);
    if (keys === undefined) return [];
    const found: T[] = [];
    for (const key of [...keys].sort()) {
      const object = this.get(key);
      if (object !== undefined) found.push(object);
    }
    return found;
  }

  /** Objects whose controller this is, in order of their keys. An owner is of its objects' own namespace. */
  ownedBy(owner: Pick<Metadata, "namespace" | "uid">): T[] {
    return this.by(OWNER, ownerKey(owner));
  }

  /** Every object that could be parsed. */
  *values(): Generator<T> {
    for (const { value } of this.#entries.values()) if (value !== undefined) yield value;
  }

  /** Calls `listener` after each change. It should do one thing: put keys into queues. What it throws is caught. */
  onChange(listener: (change: Change<T>) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Takes in an object that the API server sent: true where that changed anything. A version not newer than what is
   * here is ignored.
   */
  put(object: KubeObject): boolean {
    const { metadata } = object;
    const key = keyOf(metadata);
    const old = this.#entries.get(key);
    if (old !== undefined && old.uid === metadata.uid) {
      if (compareVersions(metadata.resourceVersion, old.resourceVersion) <= 0) return false;
    } else if (old !== undefined) {
      // Recreated under the same name: whichever is newer.
      if (compareVersions(metadata.resourceVersion, old.resourceVersion) < 0) return false;
    }
    if (this.#isBuried(metadata) || !this.#matches(metadata)) return false;
    this.#set(key, object, old);
    return true;
  }

  /** Takes in a deletion. Without `resourceVersion` the object is gone for good: no later version of it can exist. */
  remove(key: string, uid: string, resourceVersion = FOREVER): boolean {
    this.#bury(uid, resourceVersion);
    const old = this.#entries.get(key);
    if (old === undefined || old.uid !== uid) return false;
    if (resourceVersion !== FOREVER && compareVersions(old.resourceVersion, resourceVersion) > 0) {
      return false;
    }
    this.#delete(key, old);
    return true;
  }

  /**
   * A new list, page by page; `finish` removes what it did not name. Objects newer than the list are kept. With
   * `trusted`, older versions win too: for an API server whose storage went back in time.
   */
  relist(trusted = false): {
    page(items: readonly KubeObject[]): void;
    finish(version: string): void;
  } {
    const seen = new Set<string>();
    return {
      page: (items) => {
        for (const object of items) {
          const key = keyOf(object.metadata);
          seen.add(key);
          const old = this.#entries.get(key);
          if (!trusted) this.put(object);
          else if (old?.resourceVersion !== object.metadata.resourceVersion) {
            this.#tombstones.delete(object.metadata.uid);
            this.#set(key, object, old);
          }
        }
      },
      finish: (version) => {
        for (const [key, entry] of this.#entries) {
          if (seen.has(key)) continue;
          if (!trusted && compareVersions(entry.resourceVersion, version) > 0) continue;
          this.#bury(entry.uid, version);
          this.#delete(key, entry);
        }
        this.#synced = true;
      },
    };
  }

  #set(key: string, object: KubeObject, old: Entry<T> | undefined): void {
    const { uid, resourceVersion } = object.metadata;
    const parsed = this.#parsed(object);
    const value = parsed.ok ? deepFreeze(parsed.value) : undefined;
    const problem = parsed.ok ? undefined : parsed.problem;
    this.#unindex(key, old);
    this.#entries.set(key, { uid, resourceVersion, value, problem });
    if (value !== undefined) this.#index(key, value);
    this.#tell(key, old?.value, value, problem);
  }

  #delete(key: string, old: Entry<T>): void {
    this.#unindex(key, old);
    this.#entries.delete(key);
    this.#tell(key, old.value, undefined, undefined);
  }

  #parsed(object: KubeObject): Parsed<T> {
    try {
      return this.#parse(withoutBookkeeping(object));
    } catch (error) {
      return { ok: false, problem: error instanceof Error ? error.message : String(error) };
    }
  }

  #tell(key: string, before: T | undefined, after: T | undefined, problem?: string): void {
    const change: Change<T> = {
      key,
      initial: !this.#synced,
      ...(before === undefined ? {} : { before }),
      ...(after === undefined ? {} : { after }),
      ...(problem === undefined ? {} : { problem }),
    };
    for (const listener of this.#listeners) {
      try {
        listener(change);
      } catch (error) {
        this.#onError(error, key);
      }
    }
  }

  #matches({ labels }: Metadata): boolean {
    return Object.entries(this.labels).every(([name, value]) => labels?.[name] === value);
  }

  #bury(uid: string, resourceVersion: string): void {
    if (this.#tombstones.get(uid) === FOREVER) return;
    this.#tombstones.delete(uid);
    this.#tombstones.set(uid, resourceVersion);
    if (this.#tombstones.size <= TOMBSTONES) return;
    const oldest = this.#tombstones.keys().next().value;
    if (oldest !== undefined) this.#tombstones.delete(oldest);
  }

  #isBuried({ uid, resourceVersion }: Metadata): boolean {
    const at = this.#tombstones.get(uid);
    return at !== undefined && (at === FOREVER || compareVersions(resourceVersion, at) <= 0);
  }

  #index(key: string, value: T): void {
    for (const [name, valuesOf] of Object.entries(this.#indexes)) {
      const index = this.#indexOf(name);
      for (const each of valuesOf(value)) {
        const keys = index.get(each);
        if (keys === undefined) index.set(each, new Set([key]));
        else keys.add(key);
      }
    }
  }

  #unindex(key: string, old: Entry<T> | undefined): void {
    if (old?.value === undefined) return;
    for (const [name, valuesOf] of Object.entries(this.#indexes)) {
      const index = this.#indexOf(name);
      for (const each of valuesOf(old.value)) {
        const keys = index.get(each);
        keys?.delete(key);
        if (keys?.size === 0) index.delete(each);
      }
    }
  }

  #indexOf(name: string): Map<string, Set<string>> {
    const index = this.#indexed.get(name);
    if (index === undefined) throw new Error(`${this.resource.plural} have no index ${name}`);
    return index;
  }
}

const OWNER = "owner";

/** A UID alone would let an object of one namespace pass for one of another: nobody checks what an owner's UID says. */
const ownerKey = ({ namespace, uid }: Pick<Metadata, "namespace" | "uid">): string =>
  keyOf({ namespace, name: uid });

const controllerOf = ({ metadata: { namespace, ownerReferences } }: Stored): string[] =>
  (ownerReferences ?? [])
    .filter(({ controller }) => controller === true)
    .map(({ uid }) => ownerKey({ namespace, uid }));
