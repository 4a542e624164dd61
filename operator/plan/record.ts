// Reading the record out of a termination message, and judging whether it is of this very run.

import { ImportRecord, RECORD_MAX_BYTES, TrainingRecord } from "../../api/record.ts";
import type { JobEnd } from "./podstate.ts";

export interface RunIdentity {
  uid: string;
  attempt: number;
}

const parsed = (end: JobEnd): unknown => {
  const text = end.terminationMessage;
  // What follows the JSON, such as a crash after it was written, makes it no record.
  if (text === undefined || text.length > RECORD_MAX_BYTES) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

/** The record of a training or an inspection; undefined where there is none, or it is of another run. */
export const trainingRecord = (
  end: JobEnd,
  run: RunIdentity & { inputsHash: string },
): TrainingRecord | undefined => {
  const { data } = TrainingRecord.safeParse(parsed(end));
  if (data === undefined || data.uid !== run.uid || data.attempt !== run.attempt) return undefined;
  if (data.outcome === "published" && data.inputsHash !== run.inputsHash) return undefined;
  return data;
};

/** The record of an import; undefined where there is none, or it is of another run. */
export const importRecord = (end: JobEnd, run: RunIdentity): ImportRecord | undefined => {
  const { data } = ImportRecord.safeParse(parsed(end));
  return data !== undefined && data.uid === run.uid && data.attempt === run.attempt
    ? data
    : undefined;
};
