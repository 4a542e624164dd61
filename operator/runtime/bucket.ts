// The limit on writes that decide something. They wait in line; none is refused.

/** Where a write queues before it is sent. */
export interface Bucket {
  /** Resolves when the request may be sent; the answer must be reported to `Turn`. */
  turn(): Promise<Turn>;
  /** Requests waiting. */
  readonly waiting: number;
}

export interface Turn {
  /** Answered by anything but 429. */
  done(): void;
  /** Answered by 429: everybody in this bucket waits so long. */
  throttled(retryAfterMs: number): void;
}

/**
 * Bounds requests in flight. The bound halves at each 429 and grows by one for each full round of successes, so the
 * rate settles at what the API server gives.
 */
export class AdaptiveBucket implements Bucket {
  readonly #max: number;
  #limit: number;
  #inFlight = 0;
  #pausedUntil = 0;
  #timer: NodeJS.Timeout | undefined;
  readonly #line: Array<() => void> = [];
  #head = 0;

  constructor({ max = 48, initial = 24 }: { max?: number; initial?: number } = {}) {
    this.#max = max;
    this.#limit = Math.min(initial, max);
  }

  get waiting(): number {
    return this.#line.length - this.#head;
  }
  /** Requests that may be in flight now. */
  get limit(): number {
    return Math.floor(this.#limit);
  }

  turn(): Promise<Turn> {
    return new Promise((resolve) => {
      this.#line.push(() => resolve(this.#newTurn()));
      this.#admit();
    });
  }

  #newTurn(): Turn {
    let over = false;
    const end = (change: () => void) => {
      if (over) return;
      over = true;
      this.#inFlight -= 1;
      change();
      this.#admit();
    };
    return {
      done: () =>
        end(() => {
          this.#limit = Math.min(this.#max, this.#limit + 1 / this.#limit);
        }),
      throttled: (retryAfterMs) =>
        end(() => {
          const now = performance.now();
          // One overload answers many requests with 429; it must halve the bound once.
          if (now >= this.#pausedUntil) this.#limit = Math.max(1, this.#limit / 2);
          this.#pausedUntil = Math.max(this.#pausedUntil, now + retryAfterMs);
        }),
    };
  }

  #admit(): void {
    if (this.#timer !== undefined) return;
    const pauseMs = this.#pausedUntil - performance.now();
    if (pauseMs > 0) {
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        this.#admit();
      }, pauseMs);
      return;
    }
    while (this.#inFlight < Math.floor(this.#limit)) {
      const next = this.#line[this.#head];
      if (next === undefined) break;
      this.#head += 1;
      this.#inFlight += 1;
      next();
    }
    if (this.#head > 1024 || this.#head === this.#line.length) {
      this.#line.splice(0, this.#head);
      this.#head = 0;
    }
  }
}
