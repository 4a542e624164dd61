// The run file: everything a trainer pod is told, in one JSON document (annotation `deeptrain.dev/run`).
// The trainer's JSON Schema (trainer-image/deeptrain_trainer/schema/run.json) is generated from this file.

import { z } from "zod";
import { baseNames } from "./bases.ts";
import { ConceptName, DatasetFormat, Digest, HttpSource, HttpUrl, Splits } from "./dataset.ts";
import { EffectiveHyperparameters } from "./hyperparameters.ts";
import { ConceptMetricName } from "./metrics.ts";

const RunObject = z.strictObject({ namespace: z.string(), name: z.string(), uid: z.string() });

const common = {
  /** The object this run works for: a ModelVersion (train, prepare, inspect) or a Dataset (import). */
  object: RunObject,
  /** Number of this attempt, from 1. Reports of another attempt are refused. */
  attempt: z.int().min(1).max(1_000_000),
  /** `https://host:port` of the progress endpoint; absent = report nothing. */
  progressUrl: z.string().optional(),
};

/** Where the weights begin. Paths are inside the pod. */
export const RunBase = z.union([
  /** Random initialisation. */
  z.strictObject({ id: z.literal("none") }),
  /** Weights that the trainer image holds; `digest` is of the file. */
  z.strictObject({ id: z.enum(baseNames).exclude(["none"]), digest: Digest }),
  /** A safetensors file: `<path>/<hex of the digest>.safetensors` once it was fetched from `url`. */
  z.strictObject({
    id: z.literal("http"),
    digest: Digest,
    url: HttpUrl,
    path: z.string(),
    denyPrivateSources: z.boolean(),
  }),
  /** The artifact of a version: `path` is its directory, `digest` that of its manifest. */
  z.strictObject({ id: z.literal("model"), digest: Digest, path: z.string() }),
]);
export type RunBase = z.infer<typeof RunBase>;

/** A metric of one concept that a gate asks for. */
export const GatedConcept = z.strictObject({
  /** Its place in the run's concepts: a name may be too long for sixteen of them to fit into a record. */
  concept: z.int().min(0).max(999),
  metric: ConceptMetricName,
});
export type GatedConcept = z.infer<typeof GatedConcept>;

/** Their values become part of the record. */
const gated = z.array(GatedConcept).max(16).optional();

/** What is trained, of what, and how: alike for a training and for what precedes it. */
const training = {
  inputsHash: Digest,
  template: z.string(),
  templateRevision: z.int().min(1).max(1000),
  /** Those that the template's type has, resolved; the learning-rate spellings collapsed to `lrate`. */
  hyperparameters: EffectiveHyperparameters,
  seed: z
    .int()
    .min(0)
    .max(2 ** 31 - 1),
  /** In the order of the model's outputs. */
  concepts: z.array(ConceptName).min(1).max(1000),
  dataset: z.strictObject({ path: z.string(), digest: Digest, splitDigest: Digest }),
  base: RunBase,
  /** Context-based classifiers only: directory for what is derived of this dataset and shared by its models. */
  derived: z.string().optional(),
  /** Threads of PyTorch, fixed at the first attempt so that a resumed run is bit-equal. */
  threads: z.int().min(1).max(1024),
};

export const TrainRun = z.strictObject({
  task: z.literal("train"),
  ...common,
  ...training,
  gated,
  /** Detectors only. Not part of the inputs: it may differ from one attempt to the next. */
  detection_score_threshold: z.number().min(0).max(1).optional(),
  /** Directory of the version: checkpoints and the published artifact. */
  output: z.string(),
  /** Of each node. As many processes are run there, without GPUs one. */
  gpus: z.int().min(0).max(16),
  /** Pods that train together; absent = 1. Each finds its number in JOB_COMPLETION_INDEX. */
  nodes: z.int().min(1).max(64).optional(),
  /** Where the processes of several nodes meet: pod 0. */
  rendezvous: z
    .strictObject({ host: z.string().min(1).max(253), port: z.int().min(1).max(65_535) })
    .optional(),
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
  /** videoFolder and auto only: frames that are taken of each second. */
  framesPerSecond: z.number().gt(0).max(60).optional(),
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

/**
 * All that a training does before its first step, on CPU and before a GPU is asked for: fetches the base, checks base
 * and data, computes embeddings. The training finds what it left in the store.
 */
export const PrepareRun = z.strictObject({ task: z.literal("prepare"), ...common, ...training });
export type PrepareRun = z.infer<typeof PrepareRun>;

/** Verifies a published artifact and repeats its record; used when a termination message was lost. */
export const InspectRun = z.strictObject({
  task: z.literal("inspect"),
  ...common,
  inputsHash: Digest,
  gated,
  output: z.string(),
});
export type InspectRun = z.infer<typeof InspectRun>;

export const RunFile = z.discriminatedUnion("task", [TrainRun, PrepareRun, ImportRun, InspectRun]);
export type RunFile = z.infer<typeof RunFile>;
