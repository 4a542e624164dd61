// A steady rate for writes that may come late. Nobody waits here: who comes too early is told when its turn is, and
// keeps its place in line until then.

export interface TurnsOptions {
  /** Default 20. */
  readonly perSecond?: number;
  /** Writes that may come at once after a pause; default 20. */
  readonly burst?: number;
  /** Milliseconds of a clock that never jumps. */
  readonly now?: () => number;
}

export class Turns {
  readonly #everyMs: number;
  readonly #burst: number;
  readonly #now: () => number;
  /** When the turn of a key comes. */
  readonly #places = new Map<string, number>();
  /** When all turns that were given out would be over if there were no bursts. */
  #endsAt = Number.NEGATIVE_INFINITY;
  #pausedUntil = Number.NEGATIVE_INFINITY;

  constructor({ perSecond = 20, burst = 20, now = () => performance.now() }: TurnsOptions = {}) {
    this.#everyMs = 1000 / perSecond;
    this.#burst = burst;
    this.#now = now;
  }

  /** Keys that have a place in line. */
  get waiting(): number {
    return this.#places.size;
  }

  /**
   * 0: it is this key's turn, and it is used up. Otherwise the milliseconds until it comes: ask again then. A turn is
   * for so many writes.
   */
  ask(key: string, writes = 1): number {
    const now = this.#now();
    const at = Math.max(this.#places.get(key) ?? this.#place(now, writes), this.#pausedUntil);
    if (at <= now) {
      this.#places.delete(key);
      return 0;
    }
    this.#places.set(key, at);
    return at - now;
  }

  /** Lets a key have the next turn that it asks for: it was paid for with another, or could not be used. */
  give(key: string): void {
    this.#places.set(key, this.#now());
  }

  /** The key wants no turn any more. */
  forget(key: string): void {
    this.#places.delete(key);
  }

  /** Nobody's turn comes for so long; the order stays. */
  pause(ms: number): void {
    const now = this.#now();
    const begin = Math.max(now, this.#pausedUntil);
    const longer = now + ms - begin;
    if (longer <= 0) return;
    this.#pausedUntil = begin + longer;
    this.#endsAt = Math.max(this.#endsAt, now) + longer;
    for (const [key, at] of this.#places) this.#places.set(key, at + longer);
  }

  #place(now: number, writes: number): number {
    this.#endsAt = Math.max(this.#endsAt, now) + writes * this.#everyMs;
    return Math.max(now, this.#endsAt - this.#burst * this.#everyMs);
  }
}
