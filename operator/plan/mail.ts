// Progress reports on their way from the endpoint into a status, and when they are worth a write.

import type { ProgressReport } from "../../api/progress.ts";

/** A report that the endpoint accepted: its sender is a live pod of that attempt. */
export interface Mail {
  report: ProgressReport;
  /** When it was received (RFC 3339). */
  receivedAt: string;
}

/** Between two writes of mere progress to one object. */
export const PROGRESS_EVERY_MS = 10_000;

const steady = new Set<string>(["step", "import"]);

/** How far a run is may wait its turn; everything else (epochs, phases, checkpoints, reports) is told at once. */
const isUrgent = ({ report }: Mail): boolean => !steady.has(report.event.type);

/** True where a newer report of the same run says all that the older one said. */
export const replaces = (newer: ProgressReport, older: ProgressReport): boolean =>
  newer.attempt === older.attempt &&
  newer.event.type === older.event.type &&
  steady.has(newer.event.type);

/** Milliseconds until these reports should be written: 0 for now, undefined where there are none. */
export const dueInMs = (
  mails: readonly Mail[],
  lastWrittenMs: number | undefined,
  nowMs: number,
): number | undefined => {
  if (mails.length === 0) return undefined;
  if (lastWrittenMs === undefined || mails.some(isUrgent)) return 0;
  return Math.max(0, lastWrittenMs + PROGRESS_EVERY_MS - nowMs);
};
