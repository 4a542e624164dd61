// A queue with workers, and the function that brings one object from what is to what should be.

import { NotLeading } from "./apierror.ts";
import type { Cache, Change, Stored } from "./cache.ts";
import { type Priority, WorkQueue } from "./queue.ts";

/** What a reconcile asks for next; nothing = wait for a change. */
export interface Next {
  readonly afterMs?: number;
}

export type Outcome = "success" | "error";

export interface ControllerMetrics {
  /** A key left the line after so many seconds. */
  taken(controller: string, waitedSeconds: number): void;
  reconciled(controller: string, outcome: Outcome, seconds: number): void;
}

export interface ControllerLog {
  error(fields: Readonly<Record<string, unknown>>, message: string): void;
}

export interface ControllerOptions {
  readonly name: string;
  /** Safe to repeat. Throwing retries this key alone, after its own growing pause. */
  readonly reconcile: (key: string) => Promise<Next | undefined>;
  /** Keys worked on at once. Default 8. */
  readonly workers?: number;
  readonly retry?: { readonly minMs: number; readonly maxMs: number };
  readonly log: ControllerLog;
  readonly metrics?: ControllerMetrics;
}

/** Work that asks the API server for nothing runs on without a pause; others must get their turn. */
const WORK_MS = 20;
/** A reconcile that asks to run again at once still lets everything else run before. */
const AGAIN_MIN_MS = 1;

export class Controller {
  readonly name: string;
  readonly queue: WorkQueue;
  readonly #options: ControllerOptions;
  #workers: Array<Promise<void>> = [];
  #pausedAt = performance.now();

  constructor(options: ControllerOptions) {
    this.name = options.name;
    this.#options = options;
    this.queue = new WorkQueue({
      ...(options.retry === undefined ? {} : { retry: options.retry }),
      onTaken: (seconds) => options.metrics?.taken(options.name, seconds),
    });
  }

  /**
   * Puts the keys that `keysOf` gives into the queue at each change of a cache; without it, the key of the changed
   * object. Changes of the first list come after all others.
   */
  follow<T extends Stored>(
    cache: Cache<T>,
    keysOf: (change: Change<T>) => readonly string[] = ({ key }) => [key],
  ): this {
    cache.onChange((change) => {
      const priority: Priority = change.initial ? "background" : "live";
      for (const key of keysOf(change)) this.queue.add(key, priority);
    });
    return this;
  }

  /** Starts the workers. Call it when every cache that the reconcile reads is synced. */
  start(): void {
    const { workers = 8 } = this.#options;
    this.#workers = Array.from({ length: workers }, () => this.#work());
  }

  /** Takes no more keys; resolves when the reconciles in hand have ended. */
  async stop(): Promise<void> {
    await this.queue.shut();
    await Promise.all(this.#workers);
  }

  async #work(): Promise<void> {
    for (;;) {
      const key = await this.queue.take();
      if (key === undefined) return;
      await this.#reconcile(key);
      this.queue.done(key);
      if (performance.now() - this.#pausedAt < WORK_MS) continue;
      await new Promise((resolve) => setImmediate(resolve));
      this.#pausedAt = performance.now();
    }
  }

  async #reconcile(key: string): Promise<void> {
    const startedAt = performance.now();
    let outcome: Outcome = "success";
    try {
      const next = await this.#options.reconcile(key);
      this.queue.forget(key);
      if (next?.afterMs !== undefined) {
        this.queue.addAfter(key, Math.max(AGAIN_MIN_MS, next.afterMs) || AGAIN_MIN_MS);
      }
    } catch (error) {
      outcome = "error";
      const pauseMs = this.queue.addAfterFailure(key);
      // Without the lease nothing may be written; the process is about to end.
      if (!(error instanceof NotLeading)) this.#report(key, error, pauseMs);
    }
    const seconds = (performance.now() - startedAt) / 1000;
    this.#options.metrics?.reconciled(this.name, outcome, seconds);
  }

  #report(key: string, error: unknown, pauseMs: number): void {
    this.#options.log.error(
      {
        controller: this.name,
        key,
        err: error,
        failures: this.queue.failures(key),
        retryInMs: Math.round(pauseMs),
      },
      "reconcile failed",
    );
  }
}
