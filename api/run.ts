// The run file: everything a trainer pod is told, in one JSON document (annotation `deeptrain.dev/run`).
// The trainer's JSON Schema (trainer-image/deeptrain_trainer/schema/run.json) is generated from this file.

import { z } from "zod";
import { ConceptName, DatasetFormat, Digest, HttpSource, Splits } from "./dataset.ts";
import { EffectiveHyperparameters } from "./hyperparameters.ts";

const RunObject = z.strictObject({ namespace: z.string(), name: z.string(), uid: z.string() });

const common = {
  /** The object this run works for: a ModelVersion (train, inspect) or a Dataset (import). */
  object: RunObject,
  /** Number of this attempt, from 1. Reports of another attempt are refused. */
  attempt: z.int().min(1).max(1_000_000),
  /** `https://host:port` of the progress endpoint; absent = report nothing. */
  progressUrl: z.string().optional(),
};

export const TrainRun = z.strictObject({
  task: z.literal("train"),
  ...common,
  inputsHash: Digest,
  template: z.string(),
  templateRevision: z.int().min(1).max(1000),
  /** All of the template's hyperparameters, resolved; the learning-rate spellings collapsed to `lrate`. */
  hyperparameters: EffectiveHyperparameters,
  seed: z
    .int()
    .min(0)
    .max(2 ** 31 - 1),
  /** In the order of the model's outputs. */
  concepts: z.array(ConceptName).min(1).max(1000),
  dataset: z.strictObject({ path: z.string(), digest: Digest, splitDigest: Digest }),
  /** `id` is `none` for random initialisation; `digest` is of the weights file. */
  base: z.strictObject({ id: z.string(), digest: Digest.optional() }),
  /** Directory of the version: checkpoints and the published artifact. */
  output: z.string(),
  /** Threads of PyTorch, fixed at the first attempt so that a resumed run is bit-equal. */
  threads: z.int().min(1).max(1024),
  gpus: z.int().min(0).max(1),
});
export type TrainRun = z.infer<typeof TrainRun>;

export const ImportRun = z.strictObject({
  task: z.literal("import"),
  ...common,
  source: z.union([
    z.strictObject({ http: HttpSource }),
    /** `path` is absolute inside the pod: under /source. A directory or an archive. */
    z.strictObject({ pvc: z.strictObject({ path: z.string() }) }),
  ]),
  format: DatasetFormat,
  splits: Splits.optional(),
  concepts: z.array(ConceptName).max(1000).optional(),
  invalidPercent: z.number().min(0).max(100),
  /** Directory that holds the namespace's datasets. */
  datasets: z.string(),
  denyPrivateSources: z.boolean(),
  limits: z.strictObject({
    /** Most bytes that are downloaded, and most that are unpacked. */
    archiveBytes: z.int().min(1),
    unpackedBytes: z.int().min(1),
    items: z.int().min(1),
  }),
});
export type ImportRun = z.infer<typeof ImportRun>;

/** Verifies a published artifact and repeats its record; used when a termination message was lost. */
export const InspectRun = z.strictObject({
  task: z.literal("inspect"),
  ...common,
  inputsHash: Digest,
  output: z.string(),
});
export type InspectRun = z.infer<typeof InspectRun>;

export const RunFile = z.discriminatedUnion("task", [TrainRun, ImportRun, InspectRun]);
export type RunFile = z.infer<typeof RunFile>;
