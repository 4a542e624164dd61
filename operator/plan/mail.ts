// Progress reports on their way from the endpoint into a status.

import type { ProgressReport } from "../../api/progress.ts";

/** A report that the endpoint accepted: its sender is a live pod of that attempt. */
export interface Mail {
  report: ProgressReport;
  /** When it was received (RFC 3339). */
  receivedAt: string;
}

/** Between two writes of mere progress to one object. */
export const PROGRESS_EVERY_MS = 10_000;

const steady = new Set(["step", "import"]);

/** How far a run is may wait its turn; everything else (epochs, phases, checkpoints, reports) is told at once. */
export const isUrgent = ({ report }: Mail): boolean => !steady.has(report.event.type);
