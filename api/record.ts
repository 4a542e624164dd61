// The record: what a pod leaves in its termination message, at most 3 KiB of JSON. It alone completes a version
// or a dataset; progress never does.

import { z } from "zod";
import { Digest, SplitCounts } from "./dataset.ts";
import { Metrics } from "./metrics.ts";
import { Reason } from "./reasons.ts";
import { GatedConcept } from "./run.ts";
import { baseCounts } from "./statusfields.ts";

export const RECORD_MAX_BYTES = 3 * 1024;

const Checkpoint = z.strictObject({
  /** Epochs finished when it was written. */
  epoch: z.int().min(0),
  /** Optimiser steps done since the beginning of the training. */
  step: z.int().min(0),
});

const common = {
  /** UID of the object (ModelVersion or Dataset) that the run was for. */
  uid: z.string().max(64),
  attempt: z.int().min(1),
};

const failure = {
  reason: Reason,
  /** One line, without secrets. */
  message: z.string().max(900),
};

export const TrainingRecord = z.discriminatedUnion("outcome", [
  z.strictObject({
    task: z.literal("train"),
    ...common,
    outcome: z.literal("published"),
    inputsHash: Digest,
    artifact: z.strictObject({
      /** Relative to the version's directory. */
      path: z.string().max(256),
      /** SHA-256 of the manifest, which holds the digests of all other files. */
      digest: Digest,
      bytes: z.int().min(1),
    }),
    metrics: Metrics,
    epochs: z.int().min(1),
    steps: z.int().min(1),
    /** Epoch whose weights were exported. */
    bestEpoch: z.int().min(1),
    /** Absent where a head alone was trained, on a base that is used whole. */
    base: z.strictObject(baseCounts).optional(),
    /** What the run asked for; without value: not measured. */
    gated: z
      .array(GatedConcept.extend({ value: z.number().optional() }))
      .max(16)
      .optional(),
  }),
  /** Of a run that prepared for a training: its exit code says the same. */
  z.strictObject({ task: z.literal("train"), ...common, outcome: z.literal("prepared") }),
  z.strictObject({
    task: z.literal("train"),
    ...common,
    outcome: z.literal("failed"),
    ...failure,
    checkpoint: Checkpoint.optional(),
  }),
  z.strictObject({
    task: z.literal("train"),
    ...common,
    /** SIGTERM: a checkpoint was written and the exit code is 143. */
    outcome: z.literal("stopped"),
    checkpoint: Checkpoint.optional(),
  }),
]);
export type TrainingRecord = z.infer<typeof TrainingRecord>;

export const ImportRecord = z.discriminatedUnion("outcome", [
  z.strictObject({
    task: z.literal("import"),
    ...common,
    outcome: z.literal("published"),
    digest: Digest,
    splitDigest: Digest,
    items: SplitCounts,
    invalid: z.int().min(0),
    bytes: z.int().min(0),
    /** SHA-256 of the canonical JSON of the DatasetReport that was sent to the progress endpoint. */
    reportDigest: Digest,
  }),
  z.strictObject({
    task: z.literal("import"),
    ...common,
    outcome: z.literal("failed"),
    ...failure,
    invalid: z.int().min(0).optional(),
    badItems: z
      .array(z.strictObject({ path: z.string().max(200), problem: z.string().max(120) }))
      .max(5)
      .optional(),
  }),
  z.strictObject({ task: z.literal("import"), ...common, outcome: z.literal("stopped") }),
]);
export type ImportRecord = z.infer<typeof ImportRecord>;

/** What a termination message holds. */
export const RunRecord = z.union([TrainingRecord, ImportRecord]);
export type RunRecord = z.infer<typeof RunRecord>;
