// Why an import failed, in the words of its record where there is one.

import { exitCode } from "../../api/reasons.ts";
import type { ImportRecord } from "../../api/record.ts";
import { type Failure, failureOf, type JobEnd } from "./podstate.ts";

export interface ImportFailure extends Failure {
  /** What to do; default: ask for another attempt. */
  cure?: string;
}

const MEMORY = "2Gi";

export const importFailure = (end: JobEnd, record: ImportRecord | undefined): ImportFailure => {
  if (end.succeeded) {
    return {
      reason: "ImportFailed",
      message: "it ended without a record of what it imported",
      retry: "counted",
    };
  }
  const failure = failureOf(end, { memory: MEMORY, crash: "ImportFailed" });
  // A record explains a failure of the process; a killed one, or one past its deadline, left none or an old one.
  if (record?.outcome !== "failed" || end.outOfMemory || end.deadlineExceeded) {
    return failure.reason === "InputInvalid"
      ? { ...failure, reason: "ImportFailed", cure: inputCure }
      : failure;
  }
  const atFault = end.exitCode === exitCode.inputAtFault;
  return {
    reason: record.reason,
    message: `${record.message}${firstBadItems(record)}`,
    retry: atFault ? "never" : failure.retry,
    ...(atFault ? { cure: inputCure } : {}),
  };
};

const inputCure = "correct the data or spec, or raise spec.tolerance.invalidPercent";

const firstBadItems = ({ badItems }: Extract<ImportRecord, { outcome: "failed" }>): string =>
  badItems === undefined || badItems.length === 0
    ? ""
    : `: ${badItems.map(({ path, problem }) => `${path}: ${problem}`).join("; ")}`;
