// The template catalogue. A released revision (keys, defaults, ranges, meaning) never changes: a new default is
// revision r+1, and a golden test holds that.

import { z } from "zod";
import { type Base, efficientnetLite0, noBase } from "./bases.ts";
import type { EffectiveHyperparameters } from "./hyperparameters.ts";

export const templateNames = [
  "visual-classifier/efficientnet-lite0",
  "visual-classifier/resnet18",
] as const;
export const TemplateName = z
  .enum(templateNames)
  .describe("What is trained: the type of model and its architecture.");
export type TemplateName = z.infer<typeof TemplateName>;

export interface TemplateRevision {
  /** Where the weights begin when the user names no base. */
  base: Base;
  optimizer: string;
  /** Default of `per_item_lrate`: the template's default spelling of the learning rate. */
  per_item_lrate: number;
  /** Smallest image_size that the architecture can take. */
  minImageSize: number;
  defaults: Omit<EffectiveHyperparameters, "lrate" | "init_epochs" | "step_epochs"> & {
    seed: number;
  };
}

const classifier: TemplateRevision["defaults"] = {
  average_horizontal_flips: true,
  base_gradient_multiplier: 1,
  batch_size: 64,
  image_size: 224,
  logreg: true,
  num_epochs: 65,
  num_items_per_epoch: 0,
  test_freq: 1,
  seed: 0,
};

/** Revision r of a template is at index r - 1. */
const catalogue: Record<TemplateName, readonly [TemplateRevision, ...TemplateRevision[]]> = {
  "visual-classifier/efficientnet-lite0": [
    {
      base: efficientnetLite0,
      optimizer: "SGD",
      per_item_lrate: 7.8125e-5,
      minImageSize: 64,
      defaults: { ...classifier, base_gradient_multiplier: 0.1 },
    },
  ],
  "visual-classifier/resnet18": [
    {
      base: noBase,
      optimizer: "SGD",
      per_item_lrate: 7.8125e-4,
      minImageSize: 32,
      defaults: classifier,
    },
  ],
};

/** The revision of a template, or undefined where there is none of that number. */
export const templateRevision = (
  template: TemplateName,
  revision: number,
): TemplateRevision | undefined => catalogue[template][revision - 1];

/** The number of the newest revision of a template. */
export const newestRevision = (template: TemplateName): number => catalogue[template].length;
