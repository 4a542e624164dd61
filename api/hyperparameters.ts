// The hyperparameters by their published names: what each means, its range. Which template has which, and the
// defaults, are in `templates.ts`.

import { z } from "zod";

const learningRate = z.number().gt(0).max(1000);

/** What a user may write. All are optional; none has a CRD default (resolved values are in status.resolved). */
export const Hyperparameters = z
  .object({
    average_horizontal_flips: z
      .boolean()
      .optional()
      .describe(
        "Augmentation: with probability 0.5 an image is flipped horizontally. Default true. Set false where left and right differ: text, digits, signs.",
      ),
    base_gradient_multiplier: z
      .number()
      .min(0)
      .max(1)
      .optional()
      .describe(
        "The learning rate of the pre-initialised base is the learning rate times this. 0 freezes the base, batch-norm included. Default: the template's.",
      ),
    batch_size: z.int().min(1).max(1024).optional().describe("Images per update. Default 64."),
    image_size: z
      .int()
      .min(32)
      .max(1024)
      .multipleOf(32)
      .optional()
      .describe(
        "Side in pixels of the square that images are squashed to: 64 to 1024 in steps of 32 (32 is allowed for resnet18). Default 224.",
      ),
    init_epochs: z
      .int()
      .min(1)
      .max(1000)
      .optional()
      .describe(
        "Epochs before the learning rate first drops. At most num_epochs. Default: 25/65 of num_epochs, at least 1.",
      ),
    step_epochs: z
      .int()
      .min(1)
      .max(1000)
      .optional()
      .describe("Epochs between later drops. Default: 7/65 of num_epochs, at least 1."),
    logreg: z
      .boolean()
      .optional()
      .describe(
        "true: logistic regression, one sigmoid per concept (concepts may overlap). false: softmax, exactly one concept for each image. Default true.",
      ),
    lrate: learningRate
      .optional()
      .describe("The learning rate itself. At most one of lrate, per_item_lrate, per_128_lrate."),
    per_item_lrate: learningRate
      .optional()
      .describe("The learning rate divided by batch_size: lrate = per_item_lrate x batch_size."),
    per_128_lrate: learningRate
      .optional()
      .describe(
        "The learning rate for 128 images per update: lrate = per_128_lrate x (batch_size / 128).",
      ),
    num_epochs: z
      .int()
      .min(1)
      .max(1000)
      .optional()
      .describe("Passes over num_items_per_epoch items. Default 65."),
    num_items_per_epoch: z
      .int()
      .min(0)
      .max(1_000_000_000)
      .optional()
      .describe(
        "Items of one epoch, rounded up to whole batches. 0 means the size of the train split. Default 0.",
      ),
    test_freq: z
      .int()
      .min(1)
      .max(1000)
      .optional()
      .describe(
        "The validation split is evaluated every test_freq-th epoch, and always at the last. At most num_epochs. Default 1.",
      ),
    seed: z
      .int()
      .min(0)
      .max(2 ** 31 - 1)
      .optional()
      .describe("Seed of the order of images, augmentation and initialisation. Default 0."),
  })
  .describe("Hyperparameters by their published names. All are optional.");
export type Hyperparameters = z.infer<typeof Hyperparameters>;
export type HyperparameterName = keyof Hyperparameters;

/** What a run is trained with: every value known, the learning rate in one spelling; `seed` travels beside it. */
export const EffectiveHyperparameters = z.strictObject({
  average_horizontal_flips: z
    .boolean()
    .describe("Augmentation: with probability 0.5 an image is flipped horizontally."),
  base_gradient_multiplier: z
    .number()
    .min(0)
    .max(1)
    .describe("Learning rate of the base as a share of the learning rate. 0: frozen."),
  batch_size: z.int().min(1).max(1024).describe("Images per update."),
  image_size: z.int().min(32).max(1024).describe("Side of the square in pixels."),
  init_epochs: z.int().min(1).max(1000).describe("Epochs before the learning rate first drops."),
  step_epochs: z.int().min(1).max(1000).describe("Epochs between later drops."),
  logreg: z.boolean().describe("true: one sigmoid per concept. false: softmax."),
  lrate: z.number().gt(0).describe("The effective learning rate."),
  num_epochs: z.int().min(1).max(1000).describe("Passes over num_items_per_epoch items."),
  num_items_per_epoch: z
    .int()
    .min(0)
    .max(1_000_000_000)
    .describe("Items of one epoch. 0: the size of the train split."),
  test_freq: z
    .int()
    .min(1)
    .max(1000)
    .describe("The validation split is evaluated every test_freq-th epoch."),
});
export type EffectiveHyperparameters = z.infer<typeof EffectiveHyperparameters>;
