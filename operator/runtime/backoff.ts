// Waiting after failures: exponential, jittered, bounded.

export interface BackoffOptions {
  readonly minMs: number;
  readonly maxMs: number;
}

/** Milliseconds to wait after `failures` failures in a row (1 or more): a random point of the upper half. */
export const backoffMs = (
  failures: number,
  { minMs, maxMs }: BackoffOptions,
  random: () => number = Math.random,
): number => {
  const full = Math.min(maxMs, minMs * 2 ** Math.min(failures - 1, 40));
  return full / 2 + (random() * full) / 2;
};

/** Resolves after `ms`, or at once when `signal` is aborted: callers look at the signal. */
export const sleep = (ms: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end, { once: true });
  });
