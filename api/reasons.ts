// The closed set of reasons. A reason is a past event or a state; its message says what to do.

import { z } from "zod";

/** Exit codes of the trainer that mean something (all others are crashes, counted). */
export const exitCode = {
  published: 0,
  inputAtFault: 42,
  diverged: 43,
  stoppedBySignal: 143,
} as const;

export const reasons = [
  // Spec and references
  "Accepted",
  "HyperparameterInvalid",
  "TemplateUnknown",
  "ConceptUnknown",
  "DatasetNotFound",
  "DatasetNotReady",
  "DatasetFailed",
  "BatchLargerThanData",
  "BatchSmallerThanConcepts",
  "NoBoxes",
  "NoPositives",
  "SingleConcept",
  "BaseNotFound",
  "BaseNotReady",
  "BaseIncompatible",
  "BaseCycle",
  "NameConflict",
  "AccessDenied",
  "StoreNotReady",
  // A version on its way
  "Creating",
  "Queued",
  "Starting",
  "Unschedulable",
  "QuotaExceeded",
  "AdmissionDenied",
  "ImagePullFailed",
  "ContainerConfigError",
  "VolumeMountFailed",
  "Training",
  "Evaluating",
  "Exporting",
  "RetryingAfterFailure",
  "Stopping",
  "RetrainPending",
  // How a version ended
  "Trained",
  "GateNotMet",
  "Suspended",
  "Superseded",
  "Preempted",
  "OutOfMemory",
  "DeadlineExceeded",
  "DiskFull",
  "Diverged",
  "InputInvalid",
  "TrainingFailed",
  "PodLost",
  "ArtifactMissing",
  "ParityFailed",
  "BaseUnavailable",
  // A dataset on its way and how it ended
  "Importing",
  "Imported",
  "DownloadFailed",
  "ChecksumMismatch",
  "SourceForbidden",
  "SourceNotFound",
  "ArchiveInvalid",
  "ArchiveTooLarge",
  "NoData",
  "ConceptsMismatch",
  "InvalidDataToleranceExceeded",
  "ImportFailed",
  // Conditions beside Ready
  "Available",
  "NothingTrained",
  "Retrained",
  "RetrainFailed",
  "WorseThanBase",
  "FewItems",
  "NoHeldOutExamples",
  "LowSupport",
  "DuplicatesAcrossSplits",
  "NoProgressReported",
] as const;

export const Reason = z.enum(reasons);
export type Reason = z.infer<typeof Reason>;
