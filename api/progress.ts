// What a running pod may POST to the progress endpoint. Strict, small, finite: anything else is refused.

import { z } from "zod";
import { DatasetReport } from "./dataset.ts";
import { ConceptMetrics, MetricValues, metricRange } from "./metrics.ts";
import { baseCounts, count } from "./statusfields.ts";

export const PROGRESS_PATH = "/v1/progress";
/** Most bytes of a body: a dataset's report of 1,000 concepts fits. */
export const PROGRESS_MAX_BYTES = 192 * 1024;

const epoch = z.int().min(0).max(1000);
const finite = z.number();

const position = {
  /** Epochs finished. */
  epoch,
  epochs: epoch,
  /** Optimiser steps done, and in all. */
  step: count,
  steps: count,
};
type Position = z.infer<z.ZodObject<typeof position>>;

/** Nobody is further than the end. */
const isWithin = ({ epoch, epochs, step, steps }: Position): boolean =>
  epoch <= epochs && step <= steps;
const within = "epoch is at most epochs, and step at most steps";

const speed = {
  /** Known after the first 20 steps. */
  imagesPerSecond: finite.min(0).optional(),
  etaSeconds: finite.min(0).optional(),
};

const isShare = (value: number | undefined): boolean =>
  value === undefined || (value >= 0 && value <= 1);

const Values = MetricValues.refine(
  (values) =>
    Object.entries(values).every(([name, value]) => {
      const [min, max] = metricRange(name);
      return value >= min && value <= max;
    }),
  "a metric is from 0 to 1; log_loss is at least 0, silhouette from -1",
);

const Concepts = z.array(
  ConceptMetrics.refine(
    ({ concept: _, support: __, video_support: ___, ...shares }) =>
      Object.values(shares).every(isShare),
    "a metric is from 0 to 1",
  ),
);

export const TrainingEvent = z.discriminatedUnion("type", [
  z
    .strictObject({
      type: z.literal("started"),
      ...position,
      threads: z.int().min(1).max(1024),
      /** `cpu` or the GPU's name. */
      device: z.string().max(128),
      precision: z.enum(["fp32", "bf16"]),
      /** Absent where a head alone is trained, on a base that is used whole. */
      base: z.strictObject(baseCounts).optional(),
    })
    .refine(isWithin, within),
  z.strictObject({
    type: z.literal("phase"),
    phase: z.enum(["loading", "training", "evaluating", "exporting", "publishing"]),
  }),
  z
    .strictObject({ type: z.literal("step"), ...position, ...speed, loss: finite, lrate: finite })
    .refine(isWithin, within),
  z
    .strictObject({
      type: z.literal("epoch"),
      ...position,
      ...speed,
      /** Mean training loss of the epoch. Absent where none of its steps had a finite one. */
      loss: finite.optional(),
      lrate: finite,
      /** On the validation split, at the epochs that `test_freq` names. */
      validation: Values.optional(),
      seconds: finite.min(0),
    })
    .refine(isWithin, within),
  z.strictObject({ type: z.literal("checkpoint"), epoch, step: count }),
  z.strictObject({
    type: z.literal("evaluation"),
    split: z.enum(["validation", "test"]),
    values: Values,
    concepts: Concepts.max(50),
  }),
]);
export type TrainingEvent = z.infer<typeof TrainingEvent>;

export const ImportEvent = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("import"),
    phase: z.enum(["downloading", "checking", "publishing"]),
    done: count,
    /** Absent while it is not known. */
    total: count.optional(),
  }),
  /** Must be acknowledged with 200 before the importer writes its record. */
  z.strictObject({ type: z.literal("report"), report: DatasetReport }),
]);
export type ImportEvent = z.infer<typeof ImportEvent>;

const envelope = {
  uid: z.string().max(64),
  attempt: z.int().min(1).max(1_000_000),
  /** Grows by at least one with every report of an attempt. */
  sequence: z.int().min(1).max(1_000_000_000_000),
};

export const ProgressReport = z.union([
  z.strictObject({ ...envelope, task: z.literal("train"), event: TrainingEvent }),
  z.strictObject({ ...envelope, task: z.literal("import"), event: ImportEvent }),
]);
export type ProgressReport = z.infer<typeof ProgressReport>;
