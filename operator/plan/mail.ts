// Progress reports on their way from the endpoint into a status, and when they are worth a write.

import type { ProgressReport } from "../../api/progress.ts";

/** A report that the endpoint accepted: its sender is a live pod of that attempt. */
export interface Mail {
  report: ProgressReport;
  /** The pod that sent it. */
  podUid: string;
  /** When it was received (RFC 3339). */
  receivedAt: string;
}

/** What a status tells of its run. */
export interface Shown {
  /** Attempt of the newest report in it. */
  attempt?: number | undefined;
  epoch?: number | undefined;
  phase?: string | undefined;
}

/** Between two writes of mere progress to one object. */
export const PROGRESS_EVERY_MS = 10_000;
/** Between two writes for news of one run, however often it has any. */
export const NEWS_EVERY_MS = 1_000;

/** A status tells something else after this: another attempt, phase or epoch, not merely how far it is. */
const isNews = ({ report }: Mail, shown: Shown): boolean => {
  if (report.task === "import") {
    return report.event.type === "report" || report.event.phase !== shown.phase;
  }
  if (report.attempt !== shown.attempt) return true;
  const { event } = report;
  if (event.type === "phase") return event.phase !== shown.phase;
  return event.type === "epoch" && event.epoch > (shown.epoch ?? 0);
};

/** Its sender waits until it is in the status: without it there is no outcome. */
export const isAwaited = ({ event }: ProgressReport): boolean => event.type === "report";

/** True where a newer report of the same run says all that the older one said. */
export const replaces = (newer: ProgressReport, older: ProgressReport): boolean =>
  newer.attempt === older.attempt &&
  newer.event.type === older.event.type &&
  newer.event.type !== "epoch";

/** Milliseconds until these reports should be written: 0 for now, undefined where there are none. */
export const dueInMs = (
  mails: readonly Mail[],
  shown: Shown,
  lastWrittenMs: number | undefined,
  nowMs: number,
): number | undefined => {
  if (mails.length === 0) return undefined;
  // Written in the future: the clock was set back since.
  if (lastWrittenMs === undefined || lastWrittenMs > nowMs) return 0;
  const everyMs = mails.some((mail) => isNews(mail, shown)) ? NEWS_EVERY_MS : PROGRESS_EVERY_MS;
  return Math.max(0, lastWrittenMs + everyMs - nowMs);
};
