// visual-detector: concepts and bounding boxes.

import type { BaseName } from "./bases.ts";
import type { Backbone, DefaultHyperparameters, Defaults, Revisions } from "./template.ts";

const hyperparameters = (
  base_gradient_multiplier: number,
  image_size: number,
  weight_decay: number,
): DefaultHyperparameters => ({
  average_horizontal_flips: true,
  base_gradient_multiplier,
  batch_size: 16,
  detection_score_threshold: 0.3,
  image_size,
  lrate_schedule: "step",
  num_epochs: 50,
  num_items_per_epoch: 0,
  test_freq: 1,
  use_perclass_regression: false,
  weight_decay,
  seed: 0,
});

const adamw = (multiplier: number): Defaults => ({
  optimizer: "AdamW",
  rate: { spelling: "lrate", value: 1.5e-3 },
  hyperparameters: hyperparameters(multiplier, 320, 0.02),
});

/** The field's rates at 16 images: 0.01 for one stage, 0.02 for two. */
const sgd = (perItem: number): Defaults => ({
  optimizer: "SGD",
  rate: { spelling: "per_item_lrate", value: perItem },
  hyperparameters: hyperparameters(1, 512, 1e-4),
});

const oneStage = sgd(6.25e-4);
const { hyperparameters: dense, ...twoStages } = sgd(1.25e-3);
/** A proposal has one box for each concept, where a dense head has several anchors. */
const fasterrcnn: Defaults = {
  ...twoStages,
  hyperparameters: { ...dense, use_perclass_regression: true },
};

const detector = (
  backbone: Backbone,
  bases: readonly [BaseName, ...BaseName[]],
  anchorsPerCell: number,
  memory: string,
  pretrained: Defaults,
  scratch: Defaults,
): Revisions => [
  {
    type: "visual-detector",
    backbone,
    bases,
    imageSizes: { min: 256, max: 1024, step: 32 },
    maxBatchSize: 256,
    anchorsPerCell,
    memory,
    pretrained,
    scratch,
  },
];

/**
 * Revision 2 has the same defaults. What the trainer builds is another: anchors as large as the picture at every image_size,
 * batches with next to no boxes that count no more than others, and tiny objects for all equally good anchors.
 */
const withLargerAnchors = ([first]: Revisions): Revisions => [first, first];

export const visualDetectors = {
  "visual-detector/retinanet-efficientnet-lite0": withLargerAnchors(
    detector("efficientnet-lite0", ["efficientnet-lite0", "none"], 9, "4Gi", adamw(0.2), adamw(1)),
  ),
  "visual-detector/ssdlite-efficientnet-lite0": withLargerAnchors(
    detector("efficientnet-lite0", ["efficientnet-lite0", "none"], 6, "4Gi", adamw(0.2), adamw(1)),
  ),
  "visual-detector/retinanet-resnet50": detector(
    "resnet50",
    ["none"],
    9,
    "12Gi",
    oneStage,
    oneStage,
  ),
  "visual-detector/fasterrcnn-resnet50": detector(
    "resnet50",
    ["none"],
    1,
    "14Gi",
    fasterrcnn,
    fasterrcnn,
  ),
} as const;
