// The budget of attempts: how often, and after what pause.

/** Counted attempts before a failure is final. */
export const BUDGET = 3;

const backoffMs = [10_000, 60_000, 300_000] as const;
export const LONGEST_BACKOFF_MS = Math.max(...backoffMs);

/** Pause before the next attempt; `failures` is how many have failed in a row, counted or not. */
export const backoffAfter = (failures: number): number =>
  backoffMs[Math.min(Math.max(failures, 1), backoffMs.length) - 1] ?? backoffMs[0];

/** `10 s`, `1 min`. */
export const durationText = (ms: number): string => {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60)
    return seconds % 60 === 0 ? `${minutes} min` : `${minutes} min ${seconds % 60} s`;
  return minutes % 60 === 0
    ? `${minutes / 60} h`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
};
