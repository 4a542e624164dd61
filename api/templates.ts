// The template catalogue. A released revision (keys, defaults, ranges, meaning) never changes: a new default is
// revision r+1, and a golden test holds that.

import { z } from "zod";
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
  base: { id: string; digest?: string };
  optimizer: string;
  /** Default of `per_item_lrate`: the template's default spelling of the learning rate. */
  per_item_lrate: number;
  /** Smallest image_size that the architecture can take. */
  minImageSize: number;
  defaults: Omit<EffectiveHyperparameters, "lrate" | "init_epochs" | "step_epochs"> & {
    seed: number;
  };
}
