// Which request gets which fault.

export interface RequestFacts {
  /** `get`, `list`, `watch`, `create`, `update`, `patch`, `apply` or `delete`. */
  readonly verb: string;
  readonly plural: string;
  /** `namespace/name`. */
  readonly key: string;
  readonly sub: string;
  /** Number of this request, from 1. */
  readonly call: number;
  readonly isWrite: boolean;
  /** Number of this write, from 1; 0 for reads. */
  readonly write: number;
}

export interface Fault {
  /** Answers with this code. */
  readonly status?: number;
  readonly reason?: string;
  readonly message?: string;
  readonly retryAfterSeconds?: number;
  /** Breaks the connection instead of answering. */
  readonly drop?: true;
  readonly delayMs?: number;
  /** Does the work first: the write happens, and its answer is lost. */
  readonly after?: true;
}

export class FaultPlan {
  readonly #rules = new Set<(facts: RequestFacts) => Fault | undefined>();
  #onKill: () => void = () => undefined;
  #killed = false;

  /** Asks `rule` at every request until what is returned is called; the first fault wins. */
  add(rule: (facts: RequestFacts) => Fault | undefined): () => void {
    this.#rules.add(rule);
    return () => this.#rules.delete(rule);
  }

  /** The next `times` requests that match get this fault. */
  times(times: number, matches: (facts: RequestFacts) => boolean, fault: Fault): void {
    let left = times;
    const remove = this.add((facts) => {
      if (!matches(facts)) return undefined;
      left -= 1;
      if (left <= 0) remove();
      return fault;
    });
  }

  /**
   * Kills whoever sends write number `write`: all connections break before or after it is done, and nobody is served
   * until `revive`. Resolves when that happens.
   */
  killAtWrite(write: number, when: "before" | "after"): Promise<void> {
    return new Promise((resolve) => {
      const remove = this.add((facts) => {
        if (facts.write !== write) return undefined;
        remove();
        this.#killed = true;
        setImmediate(() => {
          this.#onKill();
          resolve();
        });
        return when === "before" ? { drop: true } : { drop: true, after: true };
      });
    });
  }

  get isKilled(): boolean {
    return this.#killed;
  }

  revive(): void {
    this.#killed = false;
  }

  /** Forgets every rule. */
  clear(): void {
    this.#rules.clear();
  }

  onKill(listener: () => void): void {
    this.#onKill = listener;
  }

  next(facts: RequestFacts): Fault | undefined {
    if (this.#killed) return { drop: true };
    for (const rule of this.#rules) {
      const fault = rule(facts);
      if (fault !== undefined) return fault;
    }
    return undefined;
  }
}
