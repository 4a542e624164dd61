// Keeps a cache in step with the API server: list, then watch, for as long as the process lives. Whatever fails is
// tried again; nothing that happens here ends it but its signal.

import { ApiError, isApiError } from "./apierror.ts";
import { backoffMs, sleep } from "./backoff.ts";
import type { Cache, Stored } from "./cache.ts";
import type { Client } from "./client.ts";
import { eventsOf, type WatchEvent } from "./eventstream.ts";
import { compareVersions, isKubeObject, isRecord } from "./object.ts";
import { keyOf, type Resource } from "./resource.ts";

export interface WatchOptions {
  /** One namespace; default all. */
  readonly namespace?: string;
  /** A list is read again this often, in case an event was lost. Default 10 minutes. */
  readonly relistMs?: number;
  /**
   * A watch that is silent for so long is taken for dead (a half-open TCP connection): default 90 s. The API server
   * sends a bookmark every minute.
   */
  readonly inactivityMs?: number;
  /** Pause after failures: 1 s to 30 s. */
  readonly retry?: { readonly minMs: number; readonly maxMs: number };
  /** Told of every failure. */
  readonly onFailure?: (failure: WatchFailure) => void;
}

export interface WatchFailure {
  readonly resource: Resource;
  readonly verb: "list" | "watch";
  readonly error: unknown;
  /** What is wrong and, where that is known, what to do. */
  readonly problem: string;
  /** Failures in a row. */
  readonly failures: number;
  /** When it is tried again. */
  readonly pauseMs: number;
}

/** What health checks and metrics read of a watch, whatever its objects are. */
export interface Watching {
  readonly cache: { readonly resource: Resource; readonly synced: boolean; readonly size: number };
  readonly silentMs: number;
  readonly problem: string | undefined;
  /** The API server knows no such resource, or does not allow it: somebody must act. */
  readonly isRefused: boolean;
}

const RELIST_MS = 10 * 60_000;
const INACTIVITY_MS = 90_000;
const RETRY = { minMs: 1_000, maxMs: 30_000 };
/** Somebody may be installing at this very moment: what was refused is asked for again soon, and it costs little. */
const REFUSED_PAUSE_MS = 5_000;
/** A watch that lived so long was a good one, even without an event. */
const GOOD_AFTER_MS = 5_000;
/** After so many failed watches in a row the version they start from is suspected. */
const RELIST_AFTER_FAILURES = 3;
/** After so many lists that are older than what is known, the storage did go back in time. */
const TRUST_AFTER_STALE_LISTS = 5;

export class Watch<T extends Stored> {
  readonly cache: Cache<T>;
  readonly #client: Client;
  readonly #options: WatchOptions;
  readonly #abort = new AbortController();
  readonly #started = performance.now();
  #version = "";
  #listedAt = Number.NEGATIVE_INFINITY;
  #mustList = true;
  #failures = 0;
  #staleLists = 0;
  #successAt: number | undefined;
  #verb: "list" | "watch" = "list";
  #lastError: string | undefined;
  #isRefused = false;
  #running: Promise<void> | undefined;
  readonly #synced = Promise.withResolvers<void>();

  constructor(client: Client, cache: Cache<T>, options: WatchOptions = {}) {
    this.#client = client;
    this.cache = cache;
    this.#options = options;
  }

  /** Resolves when the cache holds the first whole list. */
  get synced(): Promise<void> {
    return this.#synced.promise;
  }
  /** Milliseconds since the API server last answered or sent something (since the start, before that). */
  get silentMs(): number {
    return performance.now() - (this.#successAt ?? this.#started);
  }
  /** Why it does not work now, and what to do; undefined while it does. */
  get problem(): string | undefined {
    return this.#lastError;
  }
  get isRefused(): boolean {
    return this.#isRefused;
  }

  /** Begins. Calling it again does nothing. Own writes of the client reach the cache from now on. */
  start(): this {
    if (this.#running === undefined) {
      const { resource } = this.cache;
      const stopListening = this.#client.onWrite((written) => {
        if (written.resource !== resource) return;
        if (written.object !== undefined) this.cache.put(written.object);
        else if (written.uid !== undefined) this.cache.remove(keyOf(written.name), written.uid);
      });
      this.#running = this.#run().finally(stopListening);
    }
    return this;
  }

  /** Ends, and resolves when nothing of it runs any more. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort;
    while (!signal.aborted) {
      try {
        const relistMs = this.#options.relistMs ?? RELIST_MS;
        if (this.#mustList || performance.now() - this.#listedAt >= relistMs) await this.#list();
        if (!signal.aborted) await this.#watch();
      } catch (error) {
        if (!signal.aborted) await this.#failed(error);
      }
    }
  }

  async #failed(error: unknown): Promise<void> {
    if (isGone(error)) {
      // The first 410 is ordinary: the version is too old. A list cures it, at once.
      const wasListed = this.#mustList || this.#failures > 0;
      this.#mustList = true;
      this.#failures += 1;
      if (!wasListed) return;
    } else {
      this.#failures += 1;
      if (this.#failures >= RELIST_AFTER_FAILURES) this.#mustList = true;
    }
    this.#isRefused = isApiError(error) && (error.code === 403 || error.code === 404);
    this.#lastError = problemOf(error, this.#verb, this.cache.resource);
    // An answer is no silence: a new process would get the same one.
    if (this.#isRefused) this.#successAt = performance.now();
    const pauseMs = this.#pauseMs(error);
    this.#tell(error, this.#lastError, pauseMs);
    await sleep(pauseMs, this.#abort.signal);
  }

  #pauseMs(error: unknown): number {
    const pauseMs = backoffMs(this.#failures, this.#options.retry ?? RETRY);
    if (this.#isRefused) return Math.min(pauseMs, REFUSED_PAUSE_MS);
    const asked = isApiError(error) ? error.retryAfterSeconds : undefined;
    return Math.max(pauseMs, Math.min((asked ?? 0) * 1000, 60_000));
  }

  #tell(error: unknown, problem: string, pauseMs: number): void {
    const { resource } = this.cache;
    const failure = {
      resource,
      verb: this.#verb,
      error,
      problem,
      failures: this.#failures,
      pauseMs,
    };
    try {
      this.#options.onFailure?.(failure);
    } catch {
      // A listener must not end the watch.
    }
  }

  async #list(): Promise<void> {
    this.#verb = "list";
    const { namespace } = this.#options;
    const options = { ...(namespace === undefined ? {} : { namespace }), ...this.#selector() };
    let page = await this.#client.list(this.cache.resource, options);
    const version = page.resourceVersion;
    const isStale = this.#version !== "" && compareVersions(version, this.#version) < 0;
    if (isStale && this.#staleLists < TRUST_AFTER_STALE_LISTS) {
      this.#staleLists += 1;
      throw new ApiError(0, "Stale", `the list is of version ${version}, before ${this.#version}`);
    }
    const relist = this.cache.relist(isStale);
    for (;;) {
      relist.page(page.items);
      if (page.continueToken === "" || this.#abort.signal.aborted) break;
      page = await this.#client.list(this.cache.resource, {
        ...options,
        continueToken: page.continueToken,
      });
    }
    if (this.#abort.signal.aborted) return;
    relist.finish(version);
    this.#version = version;
    this.#mustList = false;
    this.#staleLists = 0;
    this.#listedAt = performance.now();
    this.#succeeded();
    this.#synced.resolve();
  }

  async #watch(): Promise<void> {
    this.#verb = "watch";
    const from = this.#version;
    const openedAt = performance.now();
    const silence = new AbortController();
    const stop = () => silence.abort(this.#abort.signal.reason);
    this.#abort.signal.addEventListener("abort", stop);
    const inactivityMs = this.#options.inactivityMs ?? INACTIVITY_MS;
    const timer = setTimeout(() => silence.abort(new Silent(inactivityMs)), inactivityMs);
    try {
      const body = await this.#client.watch(
        this.cache.resource,
        {
          resourceVersion: from,
          allowWatchBookmarks: true,
          timeoutSeconds: this.#watchSeconds(),
          ...this.#selector(),
        },
        this.#options.namespace ?? "",
        silence.signal,
      );
      this.#heard(timer);
      for await (const event of eventsOf(body, () => this.#heard(timer))) this.#take(event);
    } catch (error) {
      if (!silence.signal.aborted) throw error;
      // A connection that worked and died is replaced at once; one that never worked is a failure.
      if (from === this.#version) throw silence.signal.reason;
    } finally {
      clearTimeout(timer);
      this.#abort.signal.removeEventListener("abort", stop);
      const isGood = from !== this.#version || performance.now() - openedAt >= GOOD_AFTER_MS;
      if (isGood && !silence.signal.aborted) this.#failures = 0;
    }
    if (
      from === this.#version &&
      performance.now() - openedAt < 1_000 &&
      !this.#abort.signal.aborted
    )
      throw new ApiError(0, "Unreachable", "the watch ended as soon as it began");
  }

  #take(event: WatchEvent): void {
    if (event.type === "ERROR") throw errorOf(event.object);
    if (event.type === "BOOKMARK") {
      this.#advance(versionOf(event.object));
      return;
    }
    if (!isKubeObject(event.object)) {
      throw new ApiError(0, "Unreachable", `a watch event ${event.type} without an object`);
    }
    const { metadata } = event.object;
    if (event.type === "DELETED") {
      this.cache.remove(keyOf(metadata), metadata.uid, metadata.resourceVersion);
    } else this.cache.put(event.object);
    this.#advance(metadata.resourceVersion);
  }

  #advance(version: string | undefined): void {
    if (version !== undefined && compareVersions(version, this.#version) > 0) {
      this.#version = version;
    }
  }

  #heard(timer: NodeJS.Timeout): void {
    timer.refresh();
    this.#succeeded();
  }

  #succeeded(): void {
    this.#successAt = performance.now();
    this.#lastError = undefined;
    this.#isRefused = false;
  }

  /** Half to all of the time until the next list, so that many watches do not end together. */
  #watchSeconds(): number {
    const relistMs = this.#options.relistMs ?? RELIST_MS;
    const leftMs = Math.max(0, relistMs - (performance.now() - this.#listedAt));
    return Math.max(1, Math.ceil((leftMs / 1000) * (0.5 + Math.random() / 2)));
  }

  #selector(): { labelSelector?: string } {
    const parts = Object.entries(this.cache.labels).map(([name, value]) => `${name}=${value}`);
    return parts.length === 0 ? {} : { labelSelector: parts.join(",") };
  }
}

class Silent extends Error {
  constructor(inactivityMs: number) {
    super(`the watch was silent for ${inactivityMs / 1000} s`);
    this.name = "Silent";
  }
}

const problemOf = (error: unknown, verb: "list" | "watch", of: Resource): string => {
  const message = error instanceof Error ? error.message : String(error);
  if (!isApiError(error)) return message;
  const what = of.group === "" ? of.plural : `${of.plural}.${of.group}`;
  if (error.code === 404) {
    return `cannot ${verb} ${what}: ${message}; apply the CustomResourceDefinition ${what}`;
  }
  return error.code === 403
    ? `cannot ${verb} ${what}: ${message}; apply the ClusterRole and its binding of this release`
    : message;
};

const isGone = (error: unknown): boolean => error instanceof ApiError && error.code === 410;

const versionOf = (object: unknown): string | undefined => {
  if (!isRecord(object) || !isRecord(object.metadata)) return undefined;
  const { resourceVersion } = object.metadata;
  return typeof resourceVersion === "string" ? resourceVersion : undefined;
};

const errorOf = (status: unknown): ApiError => {
  const { code, reason, message } = isRecord(status) ? status : {};
  return new ApiError(
    typeof code === "number" ? code : 0,
    typeof reason === "string" ? reason : "WatchError",
    typeof message === "string" ? message : "the watch ended with an error",
  );
};
