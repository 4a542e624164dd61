// DeepModel: a template, hyperparameters and a dataset: a model to be trained and kept trained.

import { z } from "zod";
import { baseNames } from "./bases.ts";
import { Conditions } from "./conditions.ts";
import { ConceptName, Digest, HttpUrl, Sha256 } from "./dataset.ts";
import { Gate } from "./gate.ts";
import { Hyperparameters, LrateSchedule } from "./hyperparameters.ts";
import { Metrics } from "./metrics.ts";
import { ObjectMeta } from "./objectmeta.ts";
import { Scheduling } from "./scheduling.ts";
import { baseCounts, count, lastHandledRetry, observedGeneration, time } from "./statusfields.ts";
import { TemplateName } from "./templates.ts";
import { text } from "./text.ts";

// People write `cpu: 2` as often as `cpu: "2"`; what is read is a string.
const cpu = z
  .union([
    text(
      32,
      /^(0\.[0-9]*[1-9][0-9]*|[1-9][0-9]*(\.[0-9]+)?|[1-9][0-9]*m)$/,
      "cpu must be a number of cores above 0, such as 2, 1.5 or 1500m",
    ),
    z.int().min(1).max(1_000_000),
  ])
  .transform(String);

// A number without a unit is bytes; below a mebibyte it is a unit forgotten.
const memory = z
  .union([
    text(
      32,
      /^([1-9][0-9]{6,}|(0\.[0-9]*[1-9][0-9]*|[1-9][0-9]*(\.[0-9]+)?)(k|Ki|M|Mi|G|Gi|T|Ti))$/,
      "memory must be a size with its unit, such as 4Gi or 512Mi",
    ),
    z
      .int()
      .min(2 ** 20)
      .max(2 ** 50),
  ])
  .transform(String);

export const Resources = z
  .object({
    gpus: z
      .int()
      .min(0)
      .max(16)
      .optional()
      .describe(
        "GPUs of each node. One process for each trains on its share of every batch. Before any is asked for, a pod without them fetches the base, checks base and data, and computes embeddings. Default 0: train on the CPU.",
      ),
    nodes: z
      .int()
      .min(1)
      .max(64)
      .optional()
      .describe(
        "Pods that train together, each with these resources. batch_size must be a multiple of all processes. Default 1.",
      ),
    gpuResourceName: text(
      253,
      /^[a-z0-9.-]+\/[A-Za-z0-9._-]+$/,
      "gpuResourceName must be an extended resource, such as nvidia.com/gpu",
    )
      .optional()
      .describe("Extended resource that stands for a GPU. Default nvidia.com/gpu."),
    cpu: cpu
      .optional()
      .describe(
        "CPU that the training pod may use, such as `2` or `1500m`. Default 2; GPUs want about 4 for each. Without GPUs it requests half of it.",
      ),
    memory: memory
      .optional()
      .describe(
        "Memory of the training pod, such as `4Gi`. Default: what the template takes on a CPU with its default batch and image size, from 4Gi (resnet18, the detectors on efficientnet-lite0, linear) over 6Gi (efficientnet-lite0) to 14Gi (fasterrcnn-resnet50); with several GPUs that for each. On a CPU it grows with batch_size and with the square of image_size. Decoded pictures are kept in what the training leaves.",
      ),
  })
  .describe("What the training pod asks for. Changing it starts nothing that is complete.");

const name = (of: string) =>
  text(
    40,
    /^[a-z]([-a-z0-9]*[a-z0-9])?$/,
    `a ${of}'s name begins with a letter and consists of lower-case letters, digits and dashes`,
  );

export const BaseSpec = z
  .object({
    name: z
      .enum(baseNames)
      .optional()
      .describe(
        "Weights of the catalogue, bundled with the trainer image. `none`: the weights begin at random. `efficientnet-lite0`: trained on ImageNet, for templates of that architecture and for context-based classifiers. `efficientnet-lite1` and `efficientnet-lite2`: larger ones, for context-based classifiers alone, whose pictures they take at 240 and 260 pixels.",
      ),
    http: z
      .object({
        url: HttpUrl.describe(
          "Address of a safetensors file, http:// or https://. Without user name, password and fragment; what is not ASCII is percent-encoded.",
        ),
        sha256: Sha256.describe(
          "SHA-256 of the file in 64 lower-case hexadecimal digits. It is the identity of the weights, and is checked.",
        ),
      })
      .optional()
      .describe(
        "Weights of the template's architecture that are fetched over HTTP: safetensors only.",
      ),
    modelRef: z
      .object({
        name: name("DeepModel").describe("Name of a DeepModel in this namespace."),
        version: z
          .int()
          .min(1)
          .max(1_000_000_000)
          .optional()
          .describe("Number of one of its versions. Default: the one that is ready."),
      })
      .optional()
      .describe(
        "Another DeepModel whose weights are the beginning. The model waits for it. A context-based classifier takes any classifier or embedder, the others a model of the same architecture.",
      ),
  })
  .describe("Where the weights begin. Set exactly one of `name`, `http` and `modelRef`.");
export type BaseSpec = z.infer<typeof BaseSpec>;

/** As the API server holds it for lists of the type `set`. */
const eachOnce = (values: readonly string[], context: z.RefinementCtx): void => {
  values.forEach((value, index) => {
    if (values.indexOf(value) === index) return;
    context.addIssue({ code: "custom", path: [index], message: `${value} is written twice` });
  });
};

export const DeepModelSpec = z
  .object({
    template: TemplateName,
    templateRevision: z
      .int()
      .min(1)
      .max(1000)
      .optional()
      .describe(
        "Revision of the template. Default: that of the newest version, else the newest there is.",
      ),
    hyperparameters: Hyperparameters.optional(),
    datasetRef: z
      .object({
        name: name("Dataset").describe("Name of a Dataset in this namespace."),
      })
      .describe("The data to train on. The model waits for them."),
    concepts: z
      .array(ConceptName)
      .min(1)
      .max(1000)
      .meta({ "x-kubernetes-list-type": "atomic" })
      .optional()
      .describe(
        "The concepts to train, out of the dataset's, in the order of the outputs. Default: all of them.",
      ),
    base: BaseSpec.optional().describe(
      "Where the weights begin. Set exactly one of `name`, `http` and `modelRef`. Default: the catalogue's weights for the template's architecture, where there are any, else none.",
    ),
    resources: Resources.optional(),
    scheduling: Scheduling.optional(),
    gates: z
      .array(Gate)
      .max(16)
      .meta({ "x-kubernetes-list-type": "atomic" })
      .optional()
      .describe(
        "What a version must reach to become ready. Not part of a version: a change trains nothing.",
      ),
    retrainOn: z
      .array(z.enum(["data", "base"]))
      .max(2)
      .superRefine(eachOnce)
      .meta({ "x-kubernetes-list-type": "set" })
      .optional()
      .describe(
        "Which changes outside this spec start a new version: of the data, of the model that is the base. Default [data]. What is not listed waits for the annotation deeptrain.dev/retrain.",
      ),
    suspend: z
      .boolean()
      .optional()
      .describe("true: stop training (a checkpoint is kept) and start nothing. Default false."),
    activeDeadlineSeconds: z
      .int()
      .min(1)
      .max(31_536_000)
      .optional()
      .describe(
        "Longest time in seconds that one attempt may run; preparing it on CPU may take as long. Default: no limit.",
      ),
    versionsToKeep: z
      .int()
      .min(1)
      .max(100)
      .optional()
      .describe("How many complete versions are kept. Default 5."),
  })
  .describe("What the user wants.");
export type DeepModelSpec = z.infer<typeof DeepModelSpec>;

export const Progress = z
  .object({
    epoch: count.describe("Epochs finished."),
    epochs: count.describe("Epochs in all."),
    step: count.describe("Optimiser steps done."),
    steps: count.describe("Optimiser steps in all."),
    percent: z.number().min(0).max(100).describe("Share of the steps done, in percent."),
    imagesPerSecond: z.number().min(0).optional().describe("Training speed, known after 20 steps."),
    etaSeconds: z
      .number()
      .min(0)
      .optional()
      .describe("Estimated time until the last step, in seconds."),
    loss: z.number().optional().describe("The newest training loss."),
    lrate: z.number().min(0).optional().describe("The learning rate in force."),
    phase: z
      .enum(["loading", "training", "evaluating", "exporting", "publishing"])
      .optional()
      .describe("What the trainer is doing."),
    updatedAt: time.describe("When the trainer last reported."),
    display: z
      .string()
      .max(64)
      .describe("Epochs, percent and time left in one line, for the column of kubectl get."),
  })
  .describe("How far the training is.");
export type Progress = z.infer<typeof Progress>;

const source = z
  .enum(["given", "default"])
  .describe("Whether the user wrote the value or it is the template's default.");
const resolvedNumber = z
  .object({ value: z.number().describe("The value."), source })
  .describe("A resolved number and where it came from.");
const resolvedBoolean = z
  .object({ value: z.boolean().describe("The value."), source })
  .describe("A resolved boolean and where it came from.");

export const Resolved = z
  .object({
    templateRevision: count.describe("Revision of the template that is used."),
    newerTemplateRevision: count
      .optional()
      .describe("A newer revision, used when spec.templateRevision names it."),
    hyperparameters: z
      .object({
        average_horizontal_flips: resolvedBoolean
          .optional()
          .describe("Whether images and their boxes are flipped."),
        base_gradient_multiplier: resolvedNumber
          .optional()
          .describe("Learning rate of the base as a share of the learning rate."),
        batch_size: resolvedNumber.describe("Images per update."),
        detection_score_threshold: resolvedNumber
          .optional()
          .describe("Boxes that score below it are not returned."),
        image_size: resolvedNumber.optional().describe("Side of the square in pixels."),
        init_epochs: resolvedNumber
          .optional()
          .describe("Epochs before the learning rate first drops."),
        step_epochs: resolvedNumber.optional().describe("Epochs between later drops."),
        lrate_schedule: z
          .object({ value: LrateSchedule.describe("The value."), source })
          .optional()
          .describe(
            "How the learning rate falls. With cosine there are no init_epochs and step_epochs.",
          ),
        lrate_decay: resolvedNumber
          .optional()
          .describe(
            "What the learning rate is multiplied by at each drop. Absent where lrate_schedule is cosine.",
          ),
        logreg: resolvedBoolean
          .optional()
          .describe("true: one sigmoid per concept. false: softmax."),
        label_smoothing: resolvedNumber
          .optional()
          .describe("The share of each truth that is spread over all concepts."),
        lrate: resolvedNumber.describe("The effective learning rate."),
        num_epochs: resolvedNumber.describe("Epochs in all."),
        num_items_per_epoch: resolvedNumber
          .optional()
          .describe("Items of one epoch. 0: the size of the train split."),
        test_freq: resolvedNumber
          .optional()
          .describe("Epochs between evaluations of the validation split."),
        early_stop_epochs: resolvedNumber
          .optional()
          .describe("Epochs without a better one after which the training ends. 0: none."),
        use_perclass_regression: resolvedBoolean
          .optional()
          .describe("Whether boxes are regressed for each concept by itself."),
        embeddings_size: resolvedNumber.optional().describe("Numbers of each vector."),
        angular_margin: resolvedNumber.optional().describe("ArcFace's m, in radians."),
        angular_scale: resolvedNumber.optional().describe("ArcFace's s."),
        weight_decay: resolvedNumber
          .optional()
          .describe("How strongly each update draws the weights towards 0."),
        seed: resolvedNumber.describe("Seed of the run."),
      })
      .describe(
        "Every hyperparameter of the template with its value; lrate is the effective learning rate.",
      ),
    optimizer: z.string().max(64).describe("The optimiser."),
    dropEpochs: z
      .array(count)
      .max(1000)
      .meta({ "x-kubernetes-list-type": "atomic" })
      .describe(
        "Epochs after which the learning rate drops (the first 20). None where lrate_schedule is cosine, and for a context-based classifier, whose rate falls with a cosine too.",
      ),
    stepsPerEpoch: count
      .optional()
      .describe("Optimiser steps in one epoch. Known when the dataset is."),
    totalSteps: count
      .optional()
      .describe("Optimiser steps in all num_epochs. Known when the dataset is."),
    base: z
      .object({
        name: z
          .string()
          .max(128)
          .describe("A base of the catalogue, none, http, or the version of a model."),
        digest: Digest.optional().describe(
          "Digest of the weights: of the file, or of the manifest of the model's artifact. Known when the base is.",
        ),
        loaded: baseCounts.loaded.optional(),
        new: baseCounts.new.optional(),
      })
      .describe(
        "Where the weights begin; loaded and new are those of wantedVersion, once its training has begun.",
      ),
    concepts: count.optional().describe("How many concepts are trained."),
  })
  .describe("What the spec means: defaults filled in, each value with its origin.");
export type Resolved = z.infer<typeof Resolved>;

export const DeepModelStatus = z
  .object({
    observedGeneration,
    conditions: Conditions.optional(),
    readyVersion: z
      .string()
      .max(63)
      .optional()
      .describe("The ModelVersion that is ready to be used."),
    wantedVersion: z
      .string()
      .max(63)
      .optional()
      .describe(
        "The ModelVersion that answers for this spec: made of the newest data and base, or of older ones where spec.retrainOn does not list them.",
      ),
    wantedHash: Digest.optional().describe(
      "Digest of the training inputs that this spec, the newest data and the newest base ask for.",
    ),
    wantedSince: time.optional().describe("Since when that digest has been wanted."),
    lastVersionNumber: count
      .optional()
      .describe("Highest version number ever given. Numbers are not used twice."),
    lastHandledRetry,
    lastHandledRetrain: z
      .string()
      .max(256)
      .optional()
      .describe("The last value of the annotation deeptrain.dev/retrain that was acted upon."),
    resolved: Resolved.optional(),
    progress: Progress.optional(),
    metrics: Metrics.optional().describe("Final metrics of readyVersion."),
    metric: z
      .string()
      .max(64)
      .optional()
      .describe("The headline metric in one line, for the column of kubectl get."),
  })
  .describe("What is so. Written by the operator only.");
export type DeepModelStatus = z.infer<typeof DeepModelStatus>;

export const DeepModel = z.looseObject({
  metadata: ObjectMeta,
  spec: DeepModelSpec,
  status: DeepModelStatus.optional(),
});
export type DeepModel = z.infer<typeof DeepModel>;
