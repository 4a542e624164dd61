// The work queue of a controller: each key at most once in line and once in work, whoever adds it how often.

import { backoffMs } from "./backoff.ts";
import { Heap } from "./heap.ts";

/** `live`: somebody just changed something. `background`: the initial list and other work that can wait. */
export type Priority = "live" | "background";

export interface QueueOptions {
  /** Pause of a key after its first failure, doubled at each further one. Default 250 ms to 5 minutes. */
  readonly retry?: { readonly minMs: number; readonly maxMs: number };
  /** Told how long a key waited in line, when it is taken. */
  readonly onTaken?: (waitedSeconds: number) => void;
  readonly random?: () => number;
}

const RETRY = { minMs: 250, maxMs: 300_000 };
/** Of so many keys taken in a row, one is from the background: nothing waits for ever. */
const BACKGROUND_EVERY = 16;

interface Waiting {
  readonly key: string;
  readonly at: number;
}

export class WorkQueue {
  readonly #options: QueueOptions;
  /** Keys in line with the time they came, in order of arrival. */
  readonly #live = new Map<string, number>();
  readonly #background = new Map<string, number>();
  readonly #working = new Set<string>();
  /** Keys that were added while they were worked on. */
  readonly #again = new Map<string, Priority>();
  readonly #failures = new Map<string, number>();
  readonly #delayed = new Map<string, Waiting>();
  readonly #heap = new Heap<Waiting>((a, b) => a.at - b.at);
  readonly #takers: Array<(key: string | undefined) => void> = [];
  readonly #idle: Array<() => void> = [];
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #taken = 0;
  #isShut = false;

  constructor(options: QueueOptions = {}) {
    this.#options = options;
  }

  /** Keys in line; delayed ones and those in work are not counted. */
  get depth(): number {
    return this.#live.size + this.#background.size;
  }
  get working(): number {
    return this.#working.size;
  }
  get delayed(): number {
    return this.#delayed.size;
  }

  /** Puts a key in line. In line already: it stays there, or moves up to `live`. In work: it runs again after. */
  add(key: string, priority: Priority = "live"): void {
    if (this.#isShut) return;
    this.#cancelDelay(key);
    if (this.#working.has(key)) {
      if (priority === "live" || !this.#again.has(key)) this.#again.set(key, priority);
      return;
    }
    if (this.#live.has(key)) return;
    if (priority === "live") {
      this.#background.delete(key);
      this.#live.set(key, performance.now());
    } else if (!this.#background.has(key)) this.#background.set(key, performance.now());
    this.#hand();
  }

  /** Adds a key after so many milliseconds; of several such wishes the earliest counts. */
  addAfter(key: string, delayMs: number): void {
    if (this.#isShut) return;
    if (!(delayMs > 0)) {
      this.add(key);
      return;
    }
    const at = performance.now() + delayMs;
    const known = this.#delayed.get(key);
    if (known !== undefined && known.at <= at) return;
    const waiting = { key, at };
    this.#delayed.set(key, waiting);
    this.#heap.push(waiting);
    this.#schedule();
  }

  /** Adds a key after its own growing pause. Returns the pause in milliseconds. */
  addAfterFailure(key: string): number {
    const failures = (this.#failures.get(key) ?? 0) + 1;
    this.#failures.set(key, failures);
    const delayMs = backoffMs(failures, this.#options.retry ?? RETRY, this.#options.random);
    this.addAfter(key, delayMs);
    return delayMs;
  }

  /** Failures in a row of a key. */
  failures(key: string): number {
    return this.#failures.get(key) ?? 0;
  }

  /** Resets the pause of a key: it succeeded. */
  forget(key: string): void {
    this.#failures.delete(key);
  }

  /** The next key, when there is one; undefined once the queue is shut. Every key taken must be given to `done`. */
  take(): Promise<string | undefined> {
    if (this.#isShut) return Promise.resolve(undefined);
    const key = this.#next();
    if (key !== undefined) return Promise.resolve(key);
    return new Promise((resolve) => this.#takers.push(resolve));
  }

  /** The work on a key is over; if it was added meanwhile it goes into line again. */
  done(key: string): void {
    this.#working.delete(key);
    const again = this.#again.get(key);
    this.#again.delete(key);
    if (again !== undefined) this.add(key, again);
    if (this.#working.size === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** Takes no more keys, forgets those in line, and resolves when the work in hand is done. */
  async shut(): Promise<void> {
    this.#isShut = true;
    clearTimeout(this.#timer);
    this.#live.clear();
    this.#background.clear();
    this.#again.clear();
    this.#delayed.clear();
    for (const resolve of this.#takers.splice(0)) resolve(undefined);
    if (this.#working.size > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  #hand(): void {
    const taker = this.#takers[0];
    if (taker === undefined) return;
    const key = this.#next();
    if (key === undefined) return;
    this.#takers.shift();
    taker(key);
  }

  #next(): string | undefined {
    this.#taken += 1;
    const first = this.#taken % BACKGROUND_EVERY === 0 ? this.#background : this.#live;
    const second = first === this.#live ? this.#background : this.#live;
    const line = first.size > 0 ? first : second;
    for (const [key, addedAt] of line) {
      line.delete(key);
      this.#working.add(key);
      this.#options.onTaken?.((performance.now() - addedAt) / 1000);
      return key;
    }
    return undefined;
  }

  #cancelDelay(key: string): void {
    // The heap keeps the entry; #due knows by identity that it no longer counts.
    this.#delayed.delete(key);
  }

  #schedule(): void {
    const next = this.#heap.peek();
    if (next === undefined || next.at >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = next.at;
    // setTimeout holds at most 2^31 - 1 ms; a longer wait is cut and looked at again.
    const waitMs = Math.min(Math.max(0, Math.ceil(next.at - performance.now())), 2 ** 31 - 1);
    this.#timer = setTimeout(() => this.#due(), waitMs);
  }

  #due(): void {
    this.#timerAt = Number.POSITIVE_INFINITY;
    const now = performance.now();
    for (;;) {
      const next = this.#heap.peek();
      if (next === undefined || next.at > now) break;
      this.#heap.pop();
      if (this.#delayed.get(next.key) === next) this.add(next.key);
    }
    this.#schedule();
  }
}
