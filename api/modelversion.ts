// ModelVersion: one immutable set of training inputs and what came of it. Written by the operator only.

import { z } from "zod";
import { Conditions } from "./conditions.ts";
import { ConceptName, Digest } from "./dataset.ts";
import { Progress } from "./deepmodel.ts";
import { EffectiveHyperparameters } from "./hyperparameters.ts";
import { ConceptMetricName, ConceptMetrics, Metrics, MetricValues } from "./metrics.ts";
import { ObjectMeta } from "./objectmeta.ts";
import { reasons } from "./reasons.ts";
import { baseCounts, count, lastHandledRetry, observedGeneration, time } from "./statusfields.ts";
import { TemplateName } from "./templates.ts";

export const ModelVersionSpec = z
  .object({
    model: z
      .object({
        name: z.string().max(63).describe("Name of the DeepModel."),
        uid: z.string().max(64).describe("UID of the DeepModel: a recreated model is a new model."),
      })
      .describe("The DeepModel that this is a version of."),
    number: z.int().min(1).max(1_000_000_000).describe("Number of the version, from 1."),
    inputsHash: Digest.describe(
      "Digest of all that follows, except for names and addresses: equal inputs are the same version.",
    ),
    template: TemplateName,
    templateRevision: z.int().min(1).max(1000).describe("Revision of the template."),
    hyperparameters: EffectiveHyperparameters.describe("The hyperparameters, resolved."),
    seed: z
      .int()
      .min(0)
      .max(2 ** 31 - 1)
      .describe("Seed of the order of images, augmentation and initialisation."),
    concepts: z
      .array(ConceptName)
      .min(1)
      .max(1000)
      .meta({ "x-kubernetes-list-type": "atomic" })
      .describe("The concepts, in the order of the outputs."),
    dataset: z
      .object({
        name: z.string().max(63).describe("Name of the Dataset."),
        digest: Digest.describe("Digest of the items and labels."),
        splitDigest: Digest.describe("Digest of the assignment to splits."),
      })
      .describe("The data."),
    base: z
      .object({
        id: z
          .string()
          .max(128)
          .describe("A base of the catalogue, `none`, `http` for an address, `model` for a model."),
        digest: Digest.optional().describe(
          "Digest of the weights: of the file, or of the manifest of the model's artifact.",
        ),
        url: z.string().max(2048).optional().describe("Address of the file."),
        model: z
          .object({
            name: z.string().max(63).describe("Name of the DeepModel."),
            uid: z.string().max(64).describe("UID of the DeepModel."),
            number: count.describe("Number of its version."),
            path: z
              .string()
              .max(1024)
              .describe("Directory of that version's artifact inside the store."),
          })
          .optional()
          .describe("The version of a model whose weights these are."),
      })
      .describe("Where the weights begin."),
  })
  .describe("The training inputs. They never change.");
export type ModelVersionSpec = z.infer<typeof ModelVersionSpec>;

export const Attempt = z
  .object({
    number: count.describe("Number of the attempt, from 1."),
    job: z
      .string()
      .max(63)
      .describe(
        "Name of its Job. Until a GPU is asked for: of the Job that prepares on CPU, whose name ends in -prepare.",
      ),
    jobUid: z.string().max(64).optional().describe("UID of its Job."),
    state: z
      .enum(["Pending", "Running", "Succeeded", "Failed", "Stopped"])
      .describe("How the attempt is or ended."),
    reason: z.enum(reasons).optional().describe("Why it waits, failed or was stopped."),
    message: z.string().max(512).optional().describe("The same in one line."),
    counted: z.boolean().describe("Whether it counts against the budget of 3."),
    startedAt: time.optional().describe("When its pod started."),
    finishedAt: time
      .optional()
      .describe("When it ended. While it is Pending: when the Job that prepared it did."),
    cpu: z.string().max(32).describe("CPU that it asked for."),
    memory: z.string().max(32).describe("Memory that it asked for."),
    gpus: count.describe("GPUs that it asked for."),
    placement: z
      .string()
      .max(71)
      .optional()
      .describe("Digest of the resources, scheduling and deadline that it was made with."),
    node: z.string().max(253).optional().describe("Node that it ran on."),
    image: z.string().max(512).optional().describe("Trainer image that ran, by digest."),
    threads: count.describe("Threads of PyTorch, the same for all attempts."),
    device: z.string().max(128).optional().describe("cpu, or the GPU's name."),
    precision: z.string().max(16).optional().describe("fp32 or bf16."),
    startedFromStep: count.optional().describe("Step of the checkpoint that it went on from."),
  })
  .describe("One run of the training.");
export type Attempt = z.infer<typeof Attempt>;

export const HistoryPoint = z
  .object({
    epoch: count.describe("Epochs finished."),
    loss: z
      .number()
      .optional()
      .describe(
        "Mean training loss of the epoch. Absent where none of its steps had a finite one.",
      ),
    lrate: z.number().describe("Learning rate at its end."),
    validation: MetricValues.optional().describe("Metrics on the validation split."),
  })
  .describe("One epoch.");
export type HistoryPoint = z.infer<typeof HistoryPoint>;

export const ModelVersionStatus = z
  .object({
    observedGeneration,
    conditions: Conditions.optional(),
    attempt: count.optional().describe("Number of the newest attempt."),
    countedAttempts: count
      .optional()
      .describe("Failed attempts since the last retry that count against the budget of 3."),
    retryAt: time.optional().describe("When the next attempt begins."),
    attempts: z
      .array(Attempt)
      .max(8)
      .meta({ "x-kubernetes-list-type": "atomic" })
      .optional()
      .describe("The last 8 attempts, newest last."),
    threads: count.optional().describe("Threads of PyTorch, fixed at the first attempt."),
    lastHandledRetry,
    lastWantedAt: time
      .optional()
      .describe(
        "When the DeepModel last wanted this version; the least recently wanted is removed first.",
      ),
    progress: Progress.optional(),
    /** Of the newest accepted report. */
    reported: z
      .object({
        attempt: count.describe("Its attempt."),
        sequence: count.describe("Its number among those of its pod."),
        pod: z.string().max(64).optional().describe("UID of the pod that sent it."),
        since: time.optional().describe("When that pod's first report came."),
      })
      .optional()
      .describe("The newest report that was accepted."),
    history: z
      .array(HistoryPoint)
      .max(60)
      .meta({ "x-kubernetes-list-type": "atomic" })
      .optional()
      .describe("Epochs, thinned to 12 points when the training ends."),
    checkpoint: z
      .object({
        epoch: count.describe("Epochs finished."),
        step: count.describe("Steps done."),
        savedAt: time.optional().describe("When it was reported."),
      })
      .optional()
      .describe("The newest checkpoint."),
    lostSeconds: count
      .optional()
      .describe(
        "Seconds of training that had to be done again: from the last checkpoint to the end of the pod that wrote it, over all attempts.",
      ),
    metrics: Metrics.optional(),
    concepts: z
      .array(ConceptMetrics)
      .max(50)
      .meta({ "x-kubernetes-list-type": "atomic" })
      .optional()
      .describe(
        "Evaluation of at most 50 concepts, the worst first. All are in metrics.json of the artifact.",
      ),
    gated: z
      .array(
        z
          .object({
            concept: z.string().max(64).describe("The concept."),
            metric: ConceptMetricName.describe("The metric."),
            value: z.number().optional().describe("Its value. Absent: it was not measured."),
          })
          .describe("A metric of a concept."),
      )
      .max(16)
      .meta({ "x-kubernetes-list-type": "atomic" })
      .optional()
      .describe(
        "The values that gates on single concepts asked for when the last attempt began, whether or not the concept is among the worst.",
      ),
    artifact: z
      .object({
        path: z.string().max(1024).describe("Directory inside the store."),
        digest: Digest.describe("Digest of its manifest."),
        bytes: count.describe("Bytes of all its files."),
      })
      .optional()
      .describe("The trained model."),
    base: z
      .object(baseCounts)
      .optional()
      .describe(
        "How the weights began; known when the first attempt has loaded the base. Absent for a context-based classifier, whose base is used whole.",
      ),
    bestEpoch: count.optional().describe("Epoch whose weights were exported."),
    metric: z
      .string()
      .max(64)
      .optional()
      .describe("The headline metric in one line, for the column of kubectl get."),
  })
  .describe("What came of it. Written by the operator only.");
export type ModelVersionStatus = z.infer<typeof ModelVersionStatus>;

export const ModelVersion = z.looseObject({
  metadata: ObjectMeta,
  spec: ModelVersionSpec,
  status: ModelVersionStatus.optional(),
});
export type ModelVersion = z.infer<typeof ModelVersion>;
