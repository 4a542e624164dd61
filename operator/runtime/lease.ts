// Leadership: one process at a time holds a Lease, and every write asks whether this one still does. All spans are
// measured on this process's monotonic clock; the times in the Lease are for people, no clock is compared with another.

import { hostname } from "node:os";
import { ApiError, isConflict, isNotFound } from "./apierror.ts";
import { sleep } from "./backoff.ts";
import type { Client } from "./client.ts";
import { isKubeObject, isRecord, type KubeObject } from "./object.ts";
import { collectionPath, type ObjectName, objectPath, resource } from "./resource.ts";

export const leases = resource("coordination.k8s.io", "v1", "Lease", "leases");

export interface LeaseOptions {
  readonly client: Client;
  readonly name: ObjectName;
  /** Unique to this process. */
  readonly identity: string;
  /** Another process may take a Lease that did not change for so long. Default 15 s. */
  readonly durationMs?: number;
  /** Without a renewal for so long the Lease counts as lost. At most two thirds of the duration. Default 10 s. */
  readonly deadlineMs?: number;
  /** Time between renewals, and between looks at a Lease that another holds. Default 3 s. */
  readonly renewMs?: number;
  /** Called once, when a Lease that was held is no longer: the process should end. */
  readonly onLost: (why: string) => void;
  readonly onWaiting?: (why: string) => void;
}

/** Of this process: host name, process id, start. */
export const processIdentity = (): string =>
  `${hostname()}_${process.pid}_${Math.round(performance.timeOrigin)}`;

/** What client-go writes when it gives a Lease up: free at once. */
const RELEASED_SECONDS = 1;

export class Lease {
  readonly #options: Required<Omit<LeaseOptions, "onWaiting">> & Pick<LeaseOptions, "onWaiting">;
  readonly #abort = new AbortController();
  /** When the renewal that holds was sent. */
  #renewedAt: number | undefined;
  #current: KubeObject | undefined;
  #observed: { version: string; at: number } | undefined;
  #deadline: NodeJS.Timeout | undefined;
  #transitions = 0;
  #isHolder = false;
  #renewing: Promise<void> = Promise.resolve();

  constructor(options: LeaseOptions) {
    const durationMs = options.durationMs ?? 15_000;
    const deadlineMs = Math.min(options.deadlineMs ?? 10_000, (durationMs * 2) / 3);
    const renewMs = options.renewMs ?? 3_000;
    this.#options = { ...options, durationMs, deadlineMs, renewMs };
  }

  /** True while nobody else can hold it: asked before each write. */
  isHeld(): boolean {
    return (
      this.#isHolder &&
      this.#renewedAt !== undefined &&
      performance.now() - this.#renewedAt < this.#options.deadlineMs
    );
  }

  /** Resolves when the Lease is held, and keeps it from then on; also resolves when `release` is called before. */
  async acquire(): Promise<void> {
    const { renewMs, onWaiting } = this.#options;
    const { signal } = this.#abort;
    let said = "";
    while (!signal.aborted) {
      const why = await this.#try().catch((error: unknown) => String(error));
      if (why === undefined) {
        this.#isHolder = true;
        this.#renewing = this.#keep();
        return;
      }
      if (why !== said) onWaiting?.(why);
      said = why;
      await sleep(renewMs * (0.75 + Math.random() / 2), signal);
    }
  }

  /** Gives the Lease up, so that another process need not wait. Nothing may be written after the call. */
  async release(): Promise<void> {
    const wasHeld = this.isHeld();
    this.#isHolder = false;
    this.#abort.abort();
    clearTimeout(this.#deadline);
    await this.#renewing;
    if (!wasHeld || this.#current === undefined) return;
    // Failing costs the next process one duration of waiting, nothing else.
    await this.#put(this.#current, "", RELEASED_SECONDS).catch(() => undefined);
  }

  /** One attempt: undefined when the Lease is ours, else why not. */
  async #try(): Promise<string | undefined> {
    const { client, name, identity } = this.#options;
    const lease = await client.get(leases, name);
    if (lease === undefined) return this.#create();
    const { holder, seconds, isEmpty } = specOf(lease);
    const isReleased = isEmpty || (holder === "" && seconds === RELEASED_SECONDS);
    // A holder that is gone by hand may still believe that it leads: it gets its time like any other.
    if (!isReleased && !this.#isExpired(lease, seconds)) {
      return holder === identity ? "held by this process" : `held by ${holder || "nobody"}`;
    }
    this.#transitions = specOf(lease).transitions + 1;
    const sentAt = performance.now();
    this.#held(await this.#put(lease, identity), sentAt);
    return undefined;
  }

  /** Somebody may have deleted the Lease under a holder: the new one acts only when that holder has given up. */
  async #create(): Promise<string | undefined> {
    const { client, name, identity, durationMs, deadlineMs } = this.#options;
    let sentAt = performance.now();
    const createdAt = sentAt;
    const created = await client.request({
      method: "POST",
      path: collectionPath(leases, name.namespace),
      body: this.#manifest(identity, durationMs / 1000),
      timeoutMs: deadlineMs / 2,
    });
    this.#held(asLease(created), sentAt);
    this.#options.onWaiting?.(
      "the Lease did not exist; waiting until a former holder has given up",
    );
    while (performance.now() - createdAt < deadlineMs) {
      await sleep(Math.min(this.#options.renewMs, deadlineMs), this.#abort.signal);
      if (this.#abort.signal.aborted) return "given up";
      sentAt = performance.now();
      this.#held(await this.#put(this.#current, identity), sentAt);
    }
    return undefined;
  }

  #isExpired({ metadata }: KubeObject, seconds: number): boolean {
    const now = performance.now();
    if (this.#observed?.version !== metadata.resourceVersion) {
      this.#observed = { version: metadata.resourceVersion, at: now };
      return false;
    }
    return now - this.#observed.at >= Math.max(seconds * 1000, this.#options.durationMs);
  }

  async #keep(): Promise<void> {
    const { signal } = this.#abort;
    for (;;) {
      await sleep(this.#options.renewMs, signal);
      if (signal.aborted) return;
      try {
        await this.#renew();
      } catch (error) {
        // Tried again until the deadline; whoever really took it makes #renew say so.
        if (error instanceof LeaseTaken) return this.#lost(error.message);
      }
    }
  }

  async #renew(): Promise<void> {
    const { client, name, identity } = this.#options;
    const sentAt = performance.now();
    try {
      this.#held(await this.#put(this.#current, identity), sentAt);
      return;
    } catch (error) {
      if (!isConflict(error) && !isNotFound(error)) throw error;
    }
    const lease = await client.get(leases, name);
    if (lease === undefined) throw new LeaseTaken("the Lease was deleted");
    const { holder } = specOf(lease);
    if (holder !== identity) throw new LeaseTaken(`the Lease is held by ${holder || "nobody"}`);
    // A lost answer, or an edit that left the holder as it is.
    this.#current = lease;
    this.#held(await this.#put(lease, identity), sentAt);
  }

  #held(lease: KubeObject, sentAt: number): void {
    this.#current = lease;
    this.#renewedAt = sentAt;
    clearTimeout(this.#deadline);
    const leftMs = Math.max(0, this.#options.deadlineMs - (performance.now() - sentAt));
    this.#deadline = setTimeout(() => this.#lost("it could not be renewed in time"), leftMs);
  }

  #lost(why: string): void {
    const wasHolder = this.#isHolder;
    this.#isHolder = false;
    clearTimeout(this.#deadline);
    if (!wasHolder) return;
    this.#abort.abort();
    this.#options.onLost(why);
  }

  /** Replaces exactly that Lease. Without its UID the API server would create a deleted one again. */
  async #put(of: KubeObject | undefined, holder: string, seconds?: number): Promise<KubeObject> {
    if (of === undefined) throw new Error("there is no Lease to renew");
    const { uid, resourceVersion } = of.metadata;
    const { client, name, durationMs, deadlineMs } = this.#options;
    const manifest = this.#manifest(holder, seconds ?? durationMs / 1000);
    return asLease(
      await client.request({
        method: "PUT",
        path: objectPath(leases, name),
        body: { ...manifest, metadata: { ...manifest.metadata, uid, resourceVersion } },
        timeoutMs: deadlineMs / 2,
      }),
    );
  }

  #manifest(holderIdentity: string, seconds: number) {
    const now = microTime(new Date());
    return {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { name: this.#options.name.name, namespace: this.#options.name.namespace },
      spec: {
        ...(holderIdentity === "" ? {} : { holderIdentity }),
        leaseDurationSeconds: Math.max(1, Math.ceil(seconds)),
        renewTime: now,
        acquireTime: now,
        leaseTransitions: this.#transitions,
      },
    };
  }
}

/** A time as `MicroTime` fields want it: with six digits after the seconds, or the API server refuses it. */
export const microTime = (date: Date): string => date.toISOString().replace("Z", "000Z");

class LeaseTaken extends Error {}

const specOf = (lease: KubeObject) => {
  const spec = isRecord(lease.spec) ? lease.spec : {};
  const { holderIdentity, leaseDurationSeconds, leaseTransitions } = spec;
  return {
    isEmpty: Object.keys(spec).length === 0,
    holder: typeof holderIdentity === "string" ? holderIdentity : "",
    seconds: typeof leaseDurationSeconds === "number" ? leaseDurationSeconds : 0,
    transitions: typeof leaseTransitions === "number" ? leaseTransitions : 0,
  };
};

const asLease = (answer: unknown): KubeObject => {
  if (isKubeObject(answer)) return answer;
  throw new ApiError(0, "Unreachable", "the API server's answer is not a Lease");
};
