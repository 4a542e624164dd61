// The template catalogue. A released revision (keys, defaults, ranges, meaning) never changes: a new default is
// revision r+1, and a golden test holds that.

import { z } from "zod";
import { contextBasedClassifiers } from "./contextbasedclassifiers.ts";
import type { Revisions, TemplateRevision } from "./template.ts";
import { visualClassifiers } from "./visualclassifiers.ts";
import { visualDetectors } from "./visualdetectors.ts";
import { visualEmbedders } from "./visualembedders.ts";

export const templateNames = [
  "visual-classifier/efficientnet-lite0",
  "visual-classifier/resnet18",
  "visual-classifier/resnet50",
  "visual-classifier/convnext-tiny",
  "visual-classifier/vit-small",
  "visual-detector/retinanet-efficientnet-lite0",
  "visual-detector/ssdlite-efficientnet-lite0",
  "visual-detector/retinanet-resnet50",
  "visual-detector/fasterrcnn-resnet50",
  "visual-embedder/arcface-efficientnet-lite0",
  "visual-embedder/arcface-resnet50",
  "context-based-classifier/linear",
] as const;
export const TemplateName = z
  .enum(templateNames)
  .describe("What is trained: the type of model and its architecture.");
export type TemplateName = z.infer<typeof TemplateName>;

const catalogue: Record<TemplateName, Revisions> = {
  ...visualClassifiers,
  ...visualDetectors,
  ...visualEmbedders,
  ...contextBasedClassifiers,
};

/** The revision of a template, or undefined where there is none of that number. */
export const templateRevision = (
  template: TemplateName,
  revision: number,
): TemplateRevision | undefined => catalogue[template][revision - 1];

/** The number of the newest revision of a template. */
export const newestRevision = (template: TemplateName): number => catalogue[template].length;

/** The newest revision of a template. The API server cannot know which one a model without `templateRevision` keeps. */
export const newestTemplate = (template: TemplateName): TemplateRevision => {
  const [first, ...others] = catalogue[template];
  return others.at(-1) ?? first;
};
