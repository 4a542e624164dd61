// What a template is made of. The templates themselves are in one file for each type.

import type { BaseName } from "./bases.ts";
import type { LrateSchedule } from "./hyperparameters.ts";

export const templateTypes = [
  "visual-classifier",
  "visual-detector",
  "visual-embedder",
  "context-based-classifier",
] as const;
export type TemplateType = (typeof templateTypes)[number];

/** The network below the head. A model may be the base of another with the same one. */
export type Backbone =
  | "efficientnet-lite0"
  | "resnet18"
  | "resnet50"
  | "convnext-tiny"
  | "vit-small";

/**
 * Values of the hyperparameters that a template's type has; what is absent its type does not have. init_epochs and
 * step_epochs follow num_epochs, the learning rate stands beside.
 */
export interface DefaultHyperparameters {
  average_horizontal_flips?: boolean;
  base_gradient_multiplier?: number;
  batch_size: number;
  detection_score_threshold?: number;
  image_size?: number;
  logreg?: boolean;
  lrate_schedule?: LrateSchedule;
  num_epochs: number;
  num_items_per_epoch?: number;
  seed: number;
  test_freq?: number;
  use_perclass_regression?: boolean;
  weight_decay: number;
}

/** How a template is trained where nothing is written. */
export interface Defaults {
  optimizer: string;
  /** The default spelling of the learning rate, and its value. */
  rate: { spelling: "lrate" | "per_item_lrate"; value: number };
  hyperparameters: DefaultHyperparameters;
}

/** Sides in pixels of the square that an architecture can take. */
export interface ImageSizes {
  min: number;
  max: number;
  step: number;
}

export interface TemplateRevision {
  type: TemplateType;
  /** Absent: that of its base. */
  backbone?: Backbone;
  /** The catalogue's bases that it can begin with; the first is meant where the user names none. */
  bases: readonly [BaseName, ...BaseName[]];
  /** Absent where the type has no image_size. */
  imageSizes?: ImageSizes;
  maxBatchSize: number;
  /**
   * Memory of a pod that asks for none: what a training with the defaults takes on a CPU, where the maps that the backward
   * pass needs lie in it too, and room for decoded pixels. No part of a version.
   */
  memory: string;
  /**
   * Of detectors: the boxes that a set of regressors is for. Anchors at each cell of a feature map; of two stages 1, as
   * the second regresses each proposal once.
   */
  anchorsPerCell?: number;
  /** Where the base is trained already. */
  pretrained: Defaults;
  /** Where the weights begin at random. */
  scratch: Defaults;
}

/** Every released revision of a template: revision r is at index r - 1. */
export type Revisions = readonly [TemplateRevision, ...TemplateRevision[]];
