// The API server's verbs over raw JSON: no generated models, so no field that a newer server knows is ever lost.

import { ApiError, isNotFound, NotLeading } from "./apierror.ts";
import { AdaptiveBucket, type Bucket } from "./bucket.ts";
import type { Connection } from "./connection.ts";
import { isKubeObject, isRecord, type KubeObject, type Manifest } from "./object.ts";
import {
  apiVersion,
  collectionPath,
  type ObjectName,
  objectPath,
  type Resource,
} from "./resource.ts";
import { type Observer, openStream, type Query, type RequestOptions, send } from "./transport.ts";

/**
 * `lifecycle`: as fast as the API server takes them. `progress`: sent once, at once, for whoever has its turn (see
 * `Turns`). `always`: neither limit nor lease.
 */
export type Lane = "lifecycle" | "progress" | "always";

export interface WriteOptions {
  /** Default `lifecycle`. */
  readonly lane?: Lane;
}

export interface ListOptions {
  readonly namespace?: string;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  /** Objects in a page; default 500. */
  readonly limit?: number;
  readonly continueToken?: string;
}

export interface Page {
  readonly items: readonly KubeObject[];
  readonly resourceVersion: string;
  /** Empty on the last page. */
  readonly continueToken: string;
}

export interface DeleteOptions {
  /** Refused with 409 unless the object is still this one. */
  readonly uid: string;
  readonly resourceVersion?: string;
  /** Default `Background`. */
  readonly propagationPolicy?: "Background" | "Foreground" | "Orphan";
  readonly gracePeriodSeconds?: number;
  readonly lane?: Lane;
}

/** What a write did, for whoever keeps copies of objects. `object` is absent where it is gone at once. */
export interface Written {
  readonly resource: Resource;
  readonly name: ObjectName;
  readonly uid?: string;
  readonly object?: KubeObject;
}

export interface ClientOptions {
  /** Owner of the fields that this client applies. */
  readonly fieldManager: string;
  /** Asked before each write is sent; false forbids it. Default: always true. */
  readonly mayWrite?: () => boolean;
  readonly observe?: Observer;
  readonly lifecycle?: Bucket;
}

export class Client {
  readonly #connection: Connection;
  readonly #fieldManager: string;
  readonly #mayWrite: () => boolean;
  readonly #observe: Observer;
  readonly #lifecycle: Bucket;
  readonly #listeners = new Set<(written: Written) => void>();

  constructor(connection: Connection, options: ClientOptions) {
    this.#connection = connection;
    this.#fieldManager = options.fieldManager;
    this.#mayWrite = options.mayWrite ?? (() => true);
    this.#observe = options.observe ?? (() => undefined);
    this.#lifecycle = options.lifecycle ?? new AdaptiveBucket();
  }

  /** Any request: resolves with the parsed body, rejects with `ApiError`. Not guarded by the lease. */
  async request(options: RequestOptions): Promise<unknown> {
    const body = await send(this.#connection, options, this.#observe);
    try {
      return JSON.parse(body);
    } catch (cause) {
      throw new ApiError(0, "Unreachable", `${options.path}: the answer is not JSON`, { cause });
    }
  }

  /** The object, or undefined where there is none. */
  async get(of: Resource, name: ObjectName): Promise<KubeObject | undefined> {
    try {
      return asObject(await this.request({ method: "GET", path: objectPath(of, name) }));
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** One page, never older than this call. */
  async list(of: Resource, options: ListOptions = {}): Promise<Page> {
    const answer = await this.request({
      method: "GET",
      path: collectionPath(of, options.namespace),
      query: {
        labelSelector: options.labelSelector,
        fieldSelector: options.fieldSelector,
        limit: options.limit ?? 500,
        continue: options.continueToken,
      },
      timeoutMs: 60_000,
    });
    return asPage(answer, of);
  }

  /** Every page. */
  async listAll(of: Resource, options: Omit<ListOptions, "continueToken"> = {}): Promise<Page> {
    const items: KubeObject[] = [];
    let page = await this.list(of, options);
    for (;;) {
      for (const item of page.items) items.push(item);
      if (page.continueToken === "") return { ...page, items };
      page = await this.list(of, { ...options, continueToken: page.continueToken });
    }
  }

  /** Rejects with `AlreadyExists` where the name is taken, by us or by somebody else: read it and look at its owner. */
  create(of: Resource, object: Manifest, options: WriteOptions = {}): Promise<KubeObject> {
    const { name, namespace = "" } = object.metadata;
    return this.#write(of, { name, namespace }, options, {
      method: "POST",
      path: collectionPath(of, namespace),
      query: { fieldManager: this.#fieldManager },
      body: object,
    });
  }

  /** Server-side apply with force: the fields in `object`, and no others, become ours. Creates what is missing. */
  apply(of: Resource, object: Manifest, options: WriteOptions = {}): Promise<KubeObject> {
    const { name, namespace = "" } = object.metadata;
    return this.#write(of, { name, namespace }, options, {
      method: "PATCH",
      path: objectPath(of, { name, namespace }),
      query: { fieldManager: this.#fieldManager, force: true },
      contentType: "application/apply-patch+yaml",
      body: object,
    });
  }

  /**
   * Puts the whole status, as its one owner: what it leaves out is removed, whoever wrote it. The version in
   * `metadata.resourceVersion` is required, so that nothing is decided from what is past: 409 where somebody wrote
   * meanwhile. Why not server-side apply: docs/decisions/0003.
   */
  replaceStatus(of: Resource, object: Manifest, options: WriteOptions = {}): Promise<KubeObject> {
    return this.#replace(of, object, "status", options);
  }

  /** Puts the whole object; 409 where somebody wrote since its resourceVersion. */
  replace(of: Resource, object: Manifest, options: WriteOptions = {}): Promise<KubeObject> {
    return this.#replace(of, object, "", options);
  }

  #replace(
    of: Resource,
    object: Manifest,
    sub: string,
    options: WriteOptions,
  ): Promise<KubeObject> {
    const { name, namespace = "", resourceVersion } = object.metadata;
    if (typeof resourceVersion !== "string") throw new Error("replace needs a resourceVersion");
    return this.#write(of, { name, namespace }, options, {
      method: "PUT",
      path: objectPath(of, { name, namespace }, sub),
      query: { fieldManager: this.#fieldManager },
      body: object,
    });
  }

  /** JSON merge patch (RFC 7396) of the object, or of its `status` subresource. */
  patch(
    of: Resource,
    name: ObjectName,
    patch: Readonly<Record<string, unknown>>,
    options: WriteOptions & { readonly subresource?: "status" } = {},
  ): Promise<KubeObject> {
    return this.#write(of, name, options, {
      method: "PATCH",
      path: objectPath(of, name, options.subresource),
      query: { fieldManager: this.#fieldManager },
      contentType: "application/merge-patch+json",
      body: patch,
    });
  }

  /**
   * Deletes that very object. `gone`: it is no more, or was not there; `going`: it waits for its finalizers or its
   * grace period. Rejects with `Conflict` where another object has the name, or it changed.
   */
  async delete(of: Resource, name: ObjectName, options: DeleteOptions): Promise<"gone" | "going"> {
    const { uid, resourceVersion, gracePeriodSeconds } = options;
    let answer: unknown;
    try {
      answer = await this.request({
        ...this.#guarded(options.lane ?? "lifecycle"),
        method: "DELETE",
        path: objectPath(of, name),
        body: {
          apiVersion: "v1",
          kind: "DeleteOptions",
          propagationPolicy: options.propagationPolicy ?? "Background",
          preconditions: { uid, ...(resourceVersion === undefined ? {} : { resourceVersion }) },
          ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds }),
        },
      });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    if (isKubeObject(answer) && answer.metadata.deletionTimestamp !== undefined) {
      this.#tell({ resource: of, name, uid, object: answer });
      return "going";
    }
    this.#tell({ resource: of, name, uid });
    return "gone";
  }

  /** Opens a watch: newline-separated JSON events, until `signal` is aborted or the server ends it. */
  watch(of: Resource, query: Query, namespace: string, signal: AbortSignal) {
    return openStream(
      this.#connection,
      { path: collectionPath(of, namespace), query: { ...query, watch: true } },
      signal,
    );
  }

  /** Calls `listener` after each successful write, before the writer goes on. Returns what undoes it. */
  onWrite(listener: (written: Written) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): Promise<void> {
    return this.#connection.close();
  }

  async #write(
    of: Resource,
    name: ObjectName,
    { lane = "lifecycle" }: WriteOptions,
    request: RequestOptions,
  ): Promise<KubeObject> {
    const object = asObject(await this.request({ ...request, ...this.#guarded(lane) }));
    this.#tell({ resource: of, name, uid: object.metadata.uid, object });
    return object;
  }

  #guarded(lane: Lane): Pick<RequestOptions, "bucket" | "guard" | "once"> {
    if (lane === "always") return {};
    return {
      ...(lane === "lifecycle" ? { bucket: this.#lifecycle } : { once: true }),
      guard: () => {
        if (!this.#mayWrite()) throw new NotLeading();
      },
    };
  }

  #tell(written: Written): void {
    for (const listener of this.#listeners) listener(written);
  }
}

/** `apiVersion` and `kind` of a resource's objects, to begin a manifest with. */
export const typeOf = (of: Resource): { apiVersion: string; kind: string } => ({
  apiVersion: apiVersion(of),
  kind: of.kind,
});

const asObject = (answer: unknown): KubeObject => {
  if (isKubeObject(answer)) return answer;
  throw new ApiError(0, "Unreachable", "the API server's answer is not an object");
};

const asPage = (answer: unknown, of: Resource): Page => {
  if (!isRecord(answer) || !Array.isArray(answer.items) || !isRecord(answer.metadata)) {
    throw new ApiError(0, "Unreachable", `the API server's answer is not a list of ${of.plural}`);
  }
  const { resourceVersion, continue: continueToken } = answer.metadata;
  return {
    items: answer.items.filter(isKubeObject),
    resourceVersion: typeof resourceVersion === "string" ? resourceVersion : "",
    continueToken: typeof continueToken === "string" ? continueToken : "",
  };
};
