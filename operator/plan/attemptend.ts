// What the end of an attempt means: published, failed, stopped, or that its record was lost.

import { annotation } from "../../api/group.ts";
import { exitCode, type Reason } from "../../api/reasons.ts";
import type { TrainingRecord } from "../../api/record.ts";
import { type Failure, failureOf, type JobEnd } from "./podstate.ts";
import { bytesText } from "./quantity.ts";
import { type RunIdentity, trainingRecord } from "./record.ts";
import { sharedMemoryBytes } from "./trainerpod.ts";

export type AttemptEnd =
  | { is: "published"; record: Extract<TrainingRecord, { outcome: "published" }> }
  | { is: "failed"; failure: Failure; cure: string }
  /** `reason`: who did it, if it was not the operator. */
  | { is: "stopped"; reason: Reason | undefined }
  /** The Job is Complete, but nothing valid was left behind. */
  | { is: "recordless" };

/** An end that needs no inspection. */
export type Conclusion = Exclude<AttemptEnd, { is: "recordless" }>;

export type AttemptIdentity = RunIdentity & { inputsHash: string; memory: string };

/** `isStopping`: its Job was being deleted, so that an end without a word is that stop, however hard it was. */
export const attemptEnd = (
  end: JobEnd,
  attempt: AttemptIdentity,
  isStopping: boolean,
): AttemptEnd => {
  const record = trainingRecord(end, attempt);
  if (end.succeeded) {
    return record?.outcome === "published" ? { is: "published", record } : { is: "recordless" };
  }
  if (isStopping && record === undefined) return { is: "stopped", reason: undefined };
  const failure = failureOf(end, { memory: attempt.memory, crash: "TrainingFailed" });
  if (failure.retry === "free") return { is: "stopped", reason: failure.reason };
  return failedBy(explained(end, failure, record, attempt.memory));
};

/** After an inspection: the same record, repeated, or the verdict that there is nothing whole. */
export const inspectionEnd = (
  end: JobEnd,
  why: "lost" | "complete",
  attempt: AttemptIdentity,
): Conclusion => {
  const record = trainingRecord(end, attempt);
  if (end.succeeded && record?.outcome === "published") return { is: "published", record };
  if (why === "lost") {
    return failedBy({
      reason: "PodLost",
      message: "its Job is gone and it had published nothing",
      retry: "counted",
    });
  }
  const detail = record?.outcome === "failed" ? `: ${record.message}` : "";
  return failedBy({
    reason: "ArtifactMissing",
    message: `it ended with exit code 0 but left no valid artifact${detail}`,
    retry: "never",
  });
};

/** A record explains a failure of the process; a killed one, or one past its deadline, left none or an old one. */
const explained = (
  end: JobEnd,
  failure: Failure,
  record: TrainingRecord | undefined,
  memory: string,
): Failure => {
  if (end.outOfMemory) {
    const shm = bytesText(sharedMemoryBytes(memory));
    return { ...failure, message: `${failure.message} (of which /dev/shm may take ${shm})` };
  }
  if (end.deadlineExceeded || record === undefined) return failure;
  if (record.outcome === "failed") {
    const isFinal = end.exitCode === exitCode.inputAtFault || end.exitCode === exitCode.diverged;
    // A trainer that saw its allocation fail names the same want as the kernel's killer does.
    const retry = isFinal || record.reason === "OutOfMemory" ? "never" : failure.retry;
    return { reason: record.reason, message: record.message, retry };
  }
  return record.outcome === "published"
    ? { ...failure, message: `${failure.message} after it had left a good record` }
    : failure;
};

const failedBy = (failure: Failure): Conclusion => ({
  is: "failed",
  failure,
  cure: cureOf(failure),
});

const again = `set the annotation ${annotation.retry} to a new value to try again`;
const inputCure = "correct the data or spec.hyperparameters";

const cures: Partial<Record<Reason, string>> = {
  OutOfMemory: "raise spec.resources.memory or lower spec.hyperparameters.batch_size",
  DeadlineExceeded: "raise spec.activeDeadlineSeconds",
  Diverged: "lower the learning rate in spec.hyperparameters",
  BaseUnavailable: `correct spec.base, or ${again}`,
  BaseIncompatible:
    "name another base in spec.base, or the template of its architecture in spec.template",
  BatchLargerThanData: "lower spec.hyperparameters.batch_size, or add training items to the data",
  BatchNotDivisible:
    "make spec.hyperparameters.batch_size a multiple of gpus x nodes of spec.resources",
  ConceptUnknown: "name concepts in spec.concepts that the data have",
  ConceptsOverlap:
    "name concepts in spec.concepts that exclude one another, or correct the labels of the data",
  NoBoxes:
    "name a Dataset with boxes in spec.datasetRef.name, or a visual-classifier in spec.template",
  NoPositives:
    "add training items of that concept to the data, or name the other concepts in spec.concepts",
  SingleConcept: "name more concepts in spec.concepts, or add items of others to the data",
  InputInvalid: inputCure,
  ParityFailed:
    "lower the learning rate in spec.hyperparameters, or choose another architecture in spec.template",
  ArtifactMissing: again,
  DiskFull: `make room in the store, then set the annotation ${annotation.retry} to a new value`,
};

/** What would fail again is not worth another try. */
const cureOf = ({ reason, retry }: Failure): string =>
  cures[reason] ?? (retry === "never" ? inputCure : again);

/** Nothing was published yet, so there is nothing to inspect. */
export const preparationLost: Conclusion = failedBy({
  reason: "PodLost",
  message: "the Job that prepared it on CPU is gone without a record",
  retry: "counted",
});
