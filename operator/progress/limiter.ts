// Token buckets by name, in bounded memory: who is not seen for a while is forgotten, and has a full bucket again.

export interface LimiterOptions {
  readonly perSecond: number;
  readonly burst: number;
  /** Names that are remembered. */
  readonly names: number;
}

export class Limiter {
  readonly #options: LimiterOptions;
  readonly #buckets = new Map<string, { tokens: number; at: number }>();

  constructor(options: LimiterOptions) {
    this.#options = options;
  }

  /** Takes one token: false where there is none. */
  take(name: string): boolean {
    const tokens = this.#tokens(name);
    const may = tokens >= 1;
    this.#buckets.delete(name);
    this.#buckets.set(name, { tokens: may ? tokens - 1 : tokens, at: performance.now() });
    if (this.#buckets.size > this.#options.names) {
      const oldest = this.#buckets.keys().next().value;
      if (oldest !== undefined) this.#buckets.delete(oldest);
    }
    return may;
  }

  /** True where a token could be taken. */
  has(name: string): boolean {
    return this.#tokens(name) >= 1;
  }

  #tokens(name: string): number {
    const { burst, perSecond } = this.#options;
    const known = this.#buckets.get(name);
    if (known === undefined) return burst;
    return Math.min(burst, known.tokens + ((performance.now() - known.at) * perSecond) / 1000);
  }
}
