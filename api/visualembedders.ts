// visual-embedder: a vector for each image, for search, clustering, or as the base of another model.

import type { BaseName } from "./bases.ts";
import type { Backbone, Defaults, Revisions } from "./template.ts";

const adamw = (base_gradient_multiplier: number): Defaults => ({
  optimizer: "AdamW",
  rate: { spelling: "lrate", value: 1e-3 },
  hyperparameters: {
    average_horizontal_flips: true,
    base_gradient_multiplier,
    batch_size: 64,
    image_size: 224,
    lrate_schedule: "step",
    num_epochs: 30,
    num_items_per_epoch: 0,
    test_freq: 1,
    weight_decay: 0.02,
    seed: 0,
  },
});

const embedder = (
  backbone: Backbone,
  bases: readonly [BaseName, ...BaseName[]],
  memory: string,
): Revisions => [
  {
    type: "visual-embedder",
    backbone,
    bases,
    imageSizes: { min: 64, max: 1024, step: 32 },
    maxBatchSize: 1024,
    memory,
    pretrained: adamw(0.1),
    scratch: adamw(1),
  },
];

export const visualEmbedders = {
  "visual-embedder/arcface-efficientnet-lite0": embedder(
    "efficientnet-lite0",
    ["efficientnet-lite0", "none"],
    "6Gi",
  ),
  "visual-embedder/arcface-resnet50": embedder("resnet50", ["none"], "10Gi"),
} as const;
