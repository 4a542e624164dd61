// The hyperparameters by their published names: what each means, its range, and which types of templates have it. The
// defaults are beside the templates.

import { z } from "zod";
import type { TemplateType } from "./template.ts";

const learningRate = z.number().gt(0).max(1000);
const epochs = z.int().min(1).max(1000);
const weightDecay = z.number().min(0).max(1);
const earlyStop = z.int().min(0).max(1000);
const lrateDecay = z.number().gt(0).max(1);
const labelSmoothing = z.number().min(0).max(0.9);
const embeddingsSize = z.int().min(8).max(2048);
const angularMargin = z.number().min(0).max(1.5);
const angularScale = z.number().min(1).max(256);
/** How the learning rate falls after its warm-up. */
export const LrateSchedule = z.enum(["step", "cosine"]);
export type LrateSchedule = z.infer<typeof LrateSchedule>;

/**
 * Defaults that are alike for all templates and revisions that have them. The others are beside the templates. The trainer
 * has the same values for what it is not told (its tests compare them).
 */
export const defaultsOfAll = {
  early_stop_epochs: 0,
  lrate_decay: 0.3,
  label_smoothing: 0,
  embeddings_size: 256,
  angular_margin: 0.2,
  angular_scale: 16,
};

/** What a user may write. All are optional; none has a CRD default (resolved values are in status.resolved). */
export const Hyperparameters = z
  .object({
    average_horizontal_flips: z
      .boolean()
      .optional()
      .describe(
        "Augmentation: with probability 0.5 an image and its boxes are flipped horizontally. Default true. Set false where left and right differ: text, digits, signs. Classifiers, detectors and embedders.",
      ),
    base_gradient_multiplier: z
      .number()
      .min(0)
      .max(1)
      .optional()
      .describe(
        "The learning rate of the pre-initialised base is the learning rate times this. 0 freezes the base, batch-norm included. Of a pretrained ResNet-50 below a detector the stem and the first stage are always frozen. Default: the template's; 1 where the weights begin at random. Classifiers, detectors and embedders.",
      ),
    batch_size: z
      .int()
      .min(1)
      .max(1024)
      .optional()
      .describe("Images per update; at most 256 for detectors. Default: the template's."),
    detection_score_threshold: z
      .number()
      .min(0)
      .max(1)
      .optional()
      .describe(
        "Boxes that score below it are not returned: the operating point of the reported precision and recall, and the default of the exported model. Average precision does not depend on it, and a change trains nothing: it counts from the next version on. Default 0.3. Detectors.",
      ),
    image_size: z
      .int()
      .min(32)
      .max(1024)
      .multipleOf(16)
      .optional()
      .describe(
        "Side in pixels of the square that an image is made to fit: squashed for classifiers and embedders (64 to 1024 in steps of 32; from 32 for resnet18; 96 to 512 in steps of 16 for vit-small), padded for detectors (256 to 1024 in steps of 32). Default: the template's. A context-based classifier takes its base's.",
      ),
    init_epochs: epochs
      .optional()
      .describe(
        "Epochs before the learning rate first drops. At most num_epochs. Default: 25/65 of num_epochs, at least 1. Classifiers, detectors and embedders.",
      ),
    step_epochs: epochs
      .optional()
      .describe(
        "Epochs between later drops. Default: 7/65 of num_epochs, at least 1. Classifiers, detectors and embedders.",
      ),
    lrate_schedule: LrateSchedule.optional().describe(
      "How the learning rate falls after its warm-up. step: it drops after init_epochs, and then every step_epochs. cosine: by half a cosine over all steps, to nearly 0 at the last (Loshchilov and Hutter 2017); init_epochs, step_epochs and lrate_decay would do nothing beside it, and are refused. Default step. Classifiers, detectors and embedders; a context-based classifier always has a cosine.",
    ),
    lrate_decay: lrateDecay
      .optional()
      .describe(
        `What the learning rate is multiplied by at each drop. 1: it never falls. It would do nothing where lrate_schedule is cosine, and is refused. Default ${defaultsOfAll.lrate_decay}. Classifiers, detectors and embedders.`,
      ),
    logreg: z
      .boolean()
      .optional()
      .describe(
        "true: logistic regression, one sigmoid per concept (concepts may overlap). false: softmax, exactly one concept for each image. Default true. Classifiers and context-based classifiers.",
      ),
    label_smoothing: labelSmoothing
      .optional()
      .describe(
        `The share of each truth that is spread evenly over all concepts (Szegedy et al. 2016). 0: none. More than 0 is of a softmax, so with logreg: false only. Default ${defaultsOfAll.label_smoothing}. Classifiers and context-based classifiers.`,
      ),
    lrate: learningRate
      .optional()
      .describe(
        "The learning rate itself. At most one of lrate, per_item_lrate, per_128_lrate. Default: the template's.",
      ),
    per_item_lrate: learningRate
      .optional()
      .describe("The learning rate divided by batch_size: lrate = per_item_lrate x batch_size."),
    per_128_lrate: learningRate
      .optional()
      .describe(
        "The learning rate for 128 images per update: lrate = per_128_lrate x (batch_size / 128).",
      ),
    num_epochs: epochs
      .optional()
      .describe("Passes over the data (see num_items_per_epoch). Default: the template's."),
    num_items_per_epoch: z
      .int()
      .min(0)
      .max(1_000_000_000)
      .optional()
      .describe(
        "Items of one epoch, rounded up to whole batches. 0 means the size of the train split. Default 0. Classifiers, detectors and embedders.",
      ),
    test_freq: epochs
      .optional()
      .describe(
        "The validation split is evaluated every test_freq-th epoch, and always at the last. At most num_epochs. Default 1. Classifiers, detectors and embedders.",
      ),
    early_stop_epochs: earlyStop
      .optional()
      .describe(
        `The training ends when the metric that chooses the exported epoch has not risen on the validation split for so many epochs: what is exported is the best epoch either way. 0: it never ends before num_epochs. Default ${defaultsOfAll.early_stop_epochs}. Classifiers, detectors and embedders.`,
      ),
    use_perclass_regression: z
      .boolean()
      .optional()
      .describe(
        "true: boxes are regressed for each concept by itself. false: once for all concepts. Default true for fasterrcnn, whose second stage regresses each proposal; false for the others. Refused where anchors x 4 x concepts is more than 8192 (9 anchors for retinanet, 6 for ssdlite; 1 for fasterrcnn, which takes every number of concepts). Detectors.",
      ),
    embeddings_size: embeddingsSize
      .optional()
      .describe(
        `Numbers of each vector that an embedder makes of a picture. Default ${defaultsOfAll.embeddings_size}. Embedders.`,
      ),
    angular_margin: angularMargin
      .optional()
      .describe(
        `The angle, in radians, by which a picture must be nearer to its own concept in training (the m of ArcFace, Deng et al. 2019). The paper has 0.5, for millions of faces. Default ${defaultsOfAll.angular_margin}. Embedders.`,
      ),
    angular_scale: angularScale
      .optional()
      .describe(
        `What cosines are multiplied by before the softmax in training (the s of ArcFace). The paper has 64, for millions of faces. Default ${defaultsOfAll.angular_scale}. Embedders.`,
      ),
    weight_decay: weightDecay
      .optional()
      .describe(
        "How strongly each update draws the weights towards 0; biases and norms are left out. AdamW shrinks a weight by the learning rate times this (decoupled), SGD adds this times the weight to its gradient. 0: not at all. Default: the template's.",
      ),
    seed: z
      .int()
      .min(0)
      .max(2 ** 31 - 1)
      .optional()
      .describe("Seed of the order of images, augmentation and initialisation. Default 0."),
  })
  .describe(
    "Hyperparameters by their published names. All are optional; one that the template's type does not have is refused.",
  );
export type Hyperparameters = z.infer<typeof Hyperparameters>;
export type HyperparameterName = keyof Hyperparameters;

/** The hyperparameters that not every type of template has, and the types that have them. */
export const typesWith = {
  average_horizontal_flips: ["visual-classifier", "visual-detector", "visual-embedder"],
  base_gradient_multiplier: ["visual-classifier", "visual-detector", "visual-embedder"],
  detection_score_threshold: ["visual-detector"],
  image_size: ["visual-classifier", "visual-detector", "visual-embedder"],
  init_epochs: ["visual-classifier", "visual-detector", "visual-embedder"],
  step_epochs: ["visual-classifier", "visual-detector", "visual-embedder"],
  lrate_schedule: ["visual-classifier", "visual-detector", "visual-embedder"],
  lrate_decay: ["visual-classifier", "visual-detector", "visual-embedder"],
  logreg: ["visual-classifier", "context-based-classifier"],
  label_smoothing: ["visual-classifier", "context-based-classifier"],
  num_items_per_epoch: ["visual-classifier", "visual-detector", "visual-embedder"],
  test_freq: ["visual-classifier", "visual-detector", "visual-embedder"],
  early_stop_epochs: ["visual-classifier", "visual-detector", "visual-embedder"],
  use_perclass_regression: ["visual-detector"],
  embeddings_size: ["visual-embedder"],
  angular_margin: ["visual-embedder"],
  angular_scale: ["visual-embedder"],
} as const satisfies Partial<Record<HyperparameterName, readonly TemplateType[]>>;
export type TypedHyperparameter = keyof typeof typesWith;
export const typedHyperparameters: readonly TypedHyperparameter[] = [
  "average_horizontal_flips",
  "base_gradient_multiplier",
  "detection_score_threshold",
  "image_size",
  "init_epochs",
  "step_epochs",
  "lrate_schedule",
  "lrate_decay",
  "logreg",
  "label_smoothing",
  "num_items_per_epoch",
  "test_freq",
  "early_stop_epochs",
  "use_perclass_regression",
  "embeddings_size",
  "angular_margin",
  "angular_scale",
];

/** Whether the templates of a type have this hyperparameter. */
export const hasHyperparameter = (type: TemplateType, name: TypedHyperparameter): boolean => {
  const types: readonly TemplateType[] = typesWith[name];
  return types.includes(type);
};

/**
 * What a run is trained with: every hyperparameter that the template's type has, and no other; the learning rate in
 * one spelling. `seed` and `detection_score_threshold` travel beside it. Those that are younger
 * than the first versions are there only where they are not the template's, and init_epochs and step_epochs where the
 * rate drops.
 */
export const EffectiveHyperparameters = z.strictObject({
  average_horizontal_flips: z
    .boolean()
    .optional()
    .describe(
      "Augmentation: with probability 0.5 an image and its boxes are flipped horizontally.",
    ),
  base_gradient_multiplier: z
    .number()
    .min(0)
    .max(1)
    .optional()
    .describe("Learning rate of the base as a share of the learning rate. 0: frozen."),
  batch_size: z.int().min(1).max(1024).describe("Images per update."),
  image_size: z.int().min(32).max(1024).optional().describe("Side of the square in pixels."),
  init_epochs: epochs.optional().describe("Epochs before the learning rate first drops."),
  step_epochs: epochs.optional().describe("Epochs between later drops."),
  lrate_schedule: z
    .literal("cosine")
    .optional()
    .describe("cosine: the learning rate falls by half a cosine. Absent: it drops by steps."),
  lrate_decay: lrateDecay
    .optional()
    .describe(
      `What the learning rate is multiplied by at each drop. Absent: ${defaultsOfAll.lrate_decay}.`,
    ),
  logreg: z.boolean().optional().describe("true: one sigmoid per concept. false: softmax."),
  label_smoothing: labelSmoothing
    .optional()
    .describe(
      `The share of each truth that is spread over all concepts. Absent: ${defaultsOfAll.label_smoothing}.`,
    ),
  lrate: z.number().gt(0).describe("The effective learning rate."),
  num_epochs: epochs.describe("Passes over num_items_per_epoch items."),
  num_items_per_epoch: z
    .int()
    .min(0)
    .max(1_000_000_000)
    .optional()
    .describe("Items of one epoch. 0: the size of the train split."),
  test_freq: epochs
    .optional()
    .describe("The validation split is evaluated every test_freq-th epoch."),
  early_stop_epochs: earlyStop
    .min(1)
    .optional()
    .describe(
      `The training ends after so many epochs without a better one. Absent: ${defaultsOfAll.early_stop_epochs}.`,
    ),
  use_perclass_regression: z
    .boolean()
    .optional()
    .describe("true: boxes are regressed for each concept by itself."),
  embeddings_size: embeddingsSize
    .optional()
    .describe(`Numbers of each vector. Absent: ${defaultsOfAll.embeddings_size}.`),
  angular_margin: angularMargin
    .optional()
    .describe(`ArcFace's m, in radians. Absent: ${defaultsOfAll.angular_margin}.`),
  angular_scale: angularScale
    .optional()
    .describe(`ArcFace's s. Absent: ${defaultsOfAll.angular_scale}.`),
  weight_decay: weightDecay
    .optional()
    .describe("Weight decay of what is no bias and no norm. Absent: the template's."),
});
export type EffectiveHyperparameters = z.infer<typeof EffectiveHyperparameters>;
