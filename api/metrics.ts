// Names and shapes of evaluation results. A value without support is absent, never 0 or NaN.

import { z } from "zod";

/** Metrics of a classifier whose concepts exclude one another (`logreg: false`) or overlap (`logreg: true`). */
export const metricNames = [
  "top1",
  "top5",
  "macro_f1",
  "macro_ap",
  "macro_roc_auc",
  "log_loss",
  "best_f1_threshold",
] as const;
export const MetricName = z.enum(metricNames);
export type MetricName = z.infer<typeof MetricName>;

export const MetricValues = z
  .partialRecord(MetricName, z.number())
  .meta({ maxProperties: 16 })
  .describe("Value of each metric by its name.");
export type MetricValues = z.infer<typeof MetricValues>;

export const Metrics = z
  .object({
    split: z
      .enum(["validation", "test"])
      .describe("The split that the values were measured on: test where there is one."),
    values: MetricValues,
    items: z.int().min(0).max(1_000_000_000).describe("How many items were evaluated."),
  })
  .describe("Final evaluation, made with the exported graphs under ONNX Runtime.");
export type Metrics = z.infer<typeof Metrics>;

export const ConceptMetrics = z
  .object({
    concept: z.string().max(64).describe("The concept."),
    precision: z.number().optional().describe("True positives among what was predicted."),
    recall: z.number().optional().describe("True positives among what was there."),
    f1: z.number().optional().describe("Harmonic mean of precision and recall."),
    ap: z.number().optional().describe("Average precision."),
    roc_auc: z.number().optional().describe("Area under the ROC curve."),
    support: z.int().min(0).max(1_000_000_000).describe("Positives in the evaluated split."),
  })
  .describe("Evaluation of one concept.");
export type ConceptMetrics = z.infer<typeof ConceptMetrics>;
