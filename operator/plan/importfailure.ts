// Why an import failed, in the words of its record where there is one.

import { annotation } from "../../api/group.ts";
import { exitCode, type Reason } from "../../api/reasons.ts";
import type { ImportRecord } from "../../api/record.ts";
import { type Failure, failureOf, type JobEnd } from "./podstate.ts";

export interface ImportFailure extends Failure {
  /** What to do; default: ask for another attempt. */
  cure?: string;
}

/** `memory` is what the next attempt will have. */
export const importFailure = (
  end: JobEnd,
  record: ImportRecord | undefined,
  memory: string,
): ImportFailure => {
  if (end.succeeded) {
    return {
      reason: "ImportFailed",
      message: "it ended without a record of what it imported",
      retry: "counted",
    };
  }
  const failure = failureOf(end, { memory, crash: "ImportFailed" });
  if (end.outOfMemory || (record?.outcome === "failed" && record.reason === "OutOfMemory")) {
    return outOfMemory(memory);
  }
  // A record explains a failure of the process; a killed one, or one past its deadline, left none or an old one.
  if (record?.outcome !== "failed" || end.deadlineExceeded) {
    return failure.reason === "InputInvalid"
      ? { ...failure, reason: "ImportFailed", cure: inputCure }
      : failure;
  }
  const atFault = end.exitCode === exitCode.inputAtFault;
  return {
    reason: record.reason,
    message: `${record.message}${firstBadItems(record)}`,
    retry: atFault ? "never" : failure.retry,
    ...(atFault ? { cure: cures[record.reason] ?? inputCure } : {}),
  };
};

/** The same would happen again with the same memory, and who imports cannot give it more: who runs the operator can. */
const outOfMemory = (memory: string): ImportFailure => ({
  reason: "OutOfMemory",
  message: "it needed more memory than it had",
  retry: "never",
  cure: `raise the operator's --import-memory (${memory} now), then ${again}; or divide the data into several Datasets`,
});

const again = `set the annotation ${annotation.retry} to a new value`;
const mend = `correct the data at the source, then ${again}`;
const inputCure = `correct the spec; or ${mend}`;

/** A changed spec is imported by itself; data that changed behind the same spec must be asked for. */
const cures: Partial<Record<Reason, string>> = {
  InvalidDataToleranceExceeded: `raise spec.tolerance.invalidPercent; or ${mend}`,
  DownloadFailed: `correct spec.source, or what answers there, then ${again}`,
  SourceNotFound: `correct spec.source; or put the data there, then ${again}`,
  SourceForbidden: `name another place in spec.source; or open this one, then ${again}`,
  ChecksumMismatch: `correct spec.source.http.sha256; or put the right archive there, then ${again}`,
  ArchiveInvalid: mend,
  ArchiveTooLarge: "make the source smaller, or divide it into several Datasets",
  NoData: mend,
  NoPositives: mend,
  ConceptsMismatch: `correct spec.concepts; or ${mend}`,
};

const firstBadItems = ({ badItems }: Extract<ImportRecord, { outcome: "failed" }>): string =>
  badItems === undefined || badItems.length === 0
    ? ""
    : `: ${badItems.map(({ path, problem }) => `${path}: ${problem}`).join("; ")}`;
