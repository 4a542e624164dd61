// A gate: a bound on a final metric, of the model or of one concept.

import { z } from "zod";
import { ConceptName } from "./dataset.ts";
import {
  type ConceptMetricName,
  conceptMetricNames,
  type MetricName,
  metricNames,
  ofConceptsOnly,
} from "./metrics.ts";

/** What can be gated: some need a concept, some have one or none, the others have none. */
export const GatedMetricName = z.enum([...metricNames, ...ofConceptsOnly]);
export type GatedMetricName = z.infer<typeof GatedMetricName>;

export const isOfConcept = (name: GatedMetricName): name is ConceptMetricName =>
  conceptMetricNames.some((each) => each === name);

export const isOverall = (name: GatedMetricName): name is MetricName =>
  metricNames.some((each) => each === name);

export const Gate = z
  .object({
    metric: GatedMetricName.describe(
      "The metric that is compared. With concept one of precision, recall, f1, ap, roc_auc and support, or the same of whole videos with the prefix video_.",
    ),
    concept: ConceptName.optional().describe(
      "The concept whose value is compared. Default: the metric of all. It is recorded for each gate that is there when the training begins; of a gate that is written later the value must be among status.concepts of the version.",
    ),
    min: z.number().optional().describe("The least value that passes."),
    max: z.number().optional().describe("The greatest value that passes."),
  })
  .describe("A bound on a final metric. Set at least one of `min` and `max`.");
export type Gate = z.infer<typeof Gate>;
