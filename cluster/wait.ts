// Waiting for something to become true, with a limit and a reason.
import { setTimeout as sleep } from "node:timers/promises";

export interface WaitOptions {
  readonly what: string;
  readonly timeoutMs: number;
  readonly everyMs?: number;
  /** Asked when the time is up: what to show with the error. */
  readonly evidence?: () => Promise<string>;
}

/** Polls until `claim` is true; a claim that throws counts as not yet true. */
export async function waitUntil(
  claim: () => Promise<boolean>,
  { what, timeoutMs, everyMs = 50, evidence }: WaitOptions,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  let last = "";
  for (;;) {
    try {
      if (await claim()) return;
    } catch (error) {
      last = String(error);
    }
    if (Date.now() > deadline) {
      throw new Error(
        [`${what}: not within ${timeoutMs / 1000} s`, last, await evidence?.()]
          .filter(Boolean)
          .join("\n"),
      );
    }
    await sleep(everyMs);
  }
}
