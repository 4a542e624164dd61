// Names and shapes of evaluation results. A value without support is absent, never 0 or NaN.

import { z } from "zod";

/** Of a classifier whose concepts exclude one another (`logreg: false`) or overlap (`logreg: true`). */
export const classification = [
  "top1",
  "top5",
  "macro_f1",
  "macro_ap",
  "macro_roc_auc",
  "log_loss",
  "best_f1_threshold",
] as const;

/** Of a detector; the areas are COCO's. */
export const detection = [
  "map",
  "map50",
  "map75",
  "map_small",
  "map_medium",
  "map_large",
  "precision",
  "recall",
] as const;

/** Of an embedder, beside what its base reached before the training. */
export const retrieval = [
  "recall_at_1",
  "recall_at_5",
  "recall_at_10",
  "map_at_r",
  "silhouette",
  "baseline_recall_at_1",
] as const;

/** Of a classifier on videos: the same, for each video instead of each frame. */
export const video = [
  "video_top1",
  "video_top5",
  "video_macro_f1",
  "video_macro_ap",
  "video_macro_roc_auc",
  "video_log_loss",
] as const;

export const metricNames = [...classification, ...detection, ...retrieval, ...video] as const;
export const MetricName = z.enum(metricNames);
export type MetricName = z.infer<typeof MetricName>;

/** What one evaluation may hold: a classifier's on images, on videos, a detector's, an embedder's. */
export const evaluations: readonly (readonly MetricName[])[] = [
  classification,
  [...classification, ...video],
  [...detection, "best_f1_threshold"],
  retrieval,
];

export const MetricValues = z
  .partialRecord(MetricName, z.number())
  .meta({ maxProperties: 16 })
  .describe("Value of each metric by its name.");
export type MetricValues = z.infer<typeof MetricValues>;

/** The range of a metric; all but these are shares or probabilities. */
export const metricRange = (name: string): readonly [min: number, max: number] => {
  if (name === "log_loss" || name === "video_log_loss") return [0, Infinity];
  return name === "silhouette" ? [-1, 1] : [0, 1];
};

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

/** Of one concept, and of nothing else. */
export const ofConceptsOnly = [
  "f1",
  "ap",
  "roc_auc",
  "support",
  "video_precision",
  "video_recall",
  "video_f1",
  "video_ap",
  "video_roc_auc",
  "video_support",
] as const;

/** Of one concept; `precision` and `recall` are also a detector's overall. */
export const conceptMetricNames = ["precision", "recall", ...ofConceptsOnly] as const;
export const ConceptMetricName = z.enum(conceptMetricNames);
export type ConceptMetricName = z.infer<typeof ConceptMetricName>;

const support = z.int().min(0).max(1_000_000_000);

export const ConceptMetrics = z
  .object({
    concept: z.string().max(64).describe("The concept."),
    precision: z.number().optional().describe("True positives among what was predicted."),
    recall: z.number().optional().describe("True positives among what was there."),
    f1: z.number().optional().describe("Harmonic mean of precision and recall."),
    ap: z.number().optional().describe("Average precision."),
    roc_auc: z.number().optional().describe("Area under the ROC curve."),
    support: support.describe("Positives in the evaluated split."),
    video_precision: z
      .number()
      .optional()
      .describe(
        "precision of whole videos, as all that begin with video_; where items are frames.",
      ),
    video_recall: z.number().optional().describe("recall of whole videos."),
    video_f1: z.number().optional().describe("f1 of whole videos."),
    video_ap: z.number().optional().describe("ap of whole videos."),
    video_roc_auc: z.number().optional().describe("roc_auc of whole videos."),
    video_support: support.optional().describe("Videos in the evaluated split that show it."),
  } satisfies Record<"concept" | ConceptMetricName, z.ZodType>)
  .describe("Evaluation of one concept.");
export type ConceptMetrics = z.infer<typeof ConceptMetrics>;
