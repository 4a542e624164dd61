// Waiting in tests for what happens soon.

/** Resolves when `claim` holds; rejects after `timeoutMs`, with the last thing that `claim` threw. */
export const eventually = async (
  claim: () => boolean | undefined | Promise<boolean | undefined>,
  timeoutMs = 15_000,
): Promise<void> => {
  const until = performance.now() + timeoutMs;
  let last: unknown = new Error(`not so after ${timeoutMs} ms: ${claim}`);
  while (performance.now() < until) {
    try {
      if (await claim()) return;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw last;
};
