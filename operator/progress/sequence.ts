// The order of reports: of each pod only what is newer than its last one counts. A pod that replaces another in the
// same attempt, as after a disruption, begins to count anew.

interface Last {
  readonly podUid: string;
  readonly attempt: number;
  readonly sequence: number;
  /** Of the whole body: the same report sent twice is no replay but a lost answer. */
  readonly digest: string;
  /** Not kept yet. */
  pending: boolean;
}

interface Numbers {
  readonly attempt: number;
  readonly sequence: number;
}

/** `pending`: the same report is being kept at this moment. */
export type Order = "newer" | "same" | "pending" | "older";

const REMEMBERED = 20_000;

export class Sequences {
  readonly #last = new Map<string, Last>();

  /** Where a report stands; `newer` is remembered at once, so that of two at the same time one wins. */
  claim(uid: string, podUid: string, { attempt, sequence }: Numbers, digest: string): Order {
    const last = this.#last.get(uid);
    if (last !== undefined && last.podUid === podUid) {
      const isSameNumber = last.attempt === attempt && last.sequence === sequence;
      if (isSameNumber && last.digest === digest) return last.pending ? "pending" : "same";
      const isNewer =
        attempt > last.attempt || (attempt === last.attempt && sequence > last.sequence);
      if (!isNewer) return "older";
    }
    this.#last.delete(uid);
    this.#last.set(uid, { podUid, attempt, sequence, digest, pending: true });
    if (this.#last.size > REMEMBERED) {
      const oldest = this.#last.keys().next().value;
      if (oldest !== undefined) this.#last.delete(oldest);
    }
    return "newer";
  }

  /** The report of a claim was kept: sent again, it is `same`. */
  settle(uid: string, { attempt, sequence }: Numbers): void {
    const last = this.#last.get(uid);
    if (last?.attempt === attempt && last.sequence === sequence) last.pending = false;
  }

  /** Forgets a claim whose report could not be kept: it may come again. */
  release(uid: string, { attempt, sequence }: Numbers): void {
    const last = this.#last.get(uid);
    if (last?.attempt !== attempt || last.sequence !== sequence) return;
    this.#last.set(uid, { ...last, sequence: sequence - 1, digest: "", pending: false });
  }
}
