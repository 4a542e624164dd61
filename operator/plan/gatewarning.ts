// Gates that no version can ever meet. Said at once: only what is gated when a training begins is sure to be recorded.

import type { DatasetReport } from "../../api/dataset.ts";
import type { DeepModel } from "../../api/deepmodel.ts";
import type { GatedMetricName } from "../../api/gate.ts";
import {
  type ConceptMetricName,
  classification,
  conceptMetricNames,
  detection,
  type MetricName,
  retrieval,
  video,
} from "../../api/metrics.ts";
import type { ResolvedHyperparameters } from "../../api/resolve.ts";
import type { TemplateRevision } from "../../api/template.ts";
import { listed } from "./display.ts";
import type { Problem } from "./specproblem.ts";

/** The first gate on a concept that is not trained, and the first on a metric that is not measured. */
export const gateWarnings = (
  {
    gates = [],
    concepts,
    datasetRef,
  }: Pick<DeepModel["spec"], "gates" | "concepts" | "datasetRef">,
  data: DatasetReport,
  template: TemplateRevision,
  { effective }: Pick<ResolvedHyperparameters, "effective">,
): Problem[] => {
  const warnings: Problem[] = [];
  const chosen = concepts ?? data.concepts.map(({ name }) => name);
  const noConcept = gates.findIndex(
    ({ concept }) => concept !== undefined && !chosen.includes(concept),
  );
  if (noConcept >= 0) {
    warnings.push({
      reason: "ConceptUnknown",
      message: `spec.gates[${noConcept}].concept: Dataset ${datasetRef.name} has no concept ${gates[noConcept]?.concept}, so no version can meet the gate; name one of ${listed(chosen)}`,
    });
  }
  const model: Measured = {
    type: template.type,
    isSoftmax: effective.logreg === false,
    concepts: chosen.length,
    areFrames: (data.videos ?? 0) > 0,
  };
  for (const [index, { metric, concept }] of gates.entries()) {
    const known = concept === undefined ? overallMetrics(model) : conceptMetrics(model);
    if (known.some((name) => name === metric)) continue;
    warnings.push({
      reason: "MetricUnknown",
      message: `spec.gates[${index}].metric: ${described(model)} has no ${metric}${concept === undefined ? "" : " of a concept"}, so no version can meet the gate; name one of ${known.join(", ")}`,
    });
    break;
  }
  return warnings;
};

/** What decides which metrics a model can have, before it is trained. */
interface Measured {
  type: TemplateRevision["type"];
  isSoftmax: boolean;
  concepts: number;
  areFrames: boolean;
}

/**
 * Whatever is not here is never measured. With logistic regression it is the data that tell whether concepts exclude one
 * another, so both kinds of metrics are possible.
 */
const overallMetrics = (model: Measured): readonly MetricName[] => {
  if (model.type === "visual-detector") return [...detection, "best_f1_threshold"];
  if (model.type === "visual-embedder") return retrieval;
  const names = model.areFrames ? [...classification, ...video] : classification;
  return names.filter((name) => !isNever(name, model));
};

const isNever = (name: GatedMetricName, { isSoftmax, concepts }: Measured): boolean => {
  switch (name.replace(/^video_/, "")) {
    case "log_loss":
      return !isSoftmax;
    case "best_f1_threshold":
      return isSoftmax;
    case "top5":
      return concepts <= 5;
    default:
      return false;
  }
};

const conceptMetrics = ({ type, areFrames }: Measured): readonly ConceptMetricName[] => {
  if (type === "visual-detector") return ["precision", "recall", "f1", "ap", "support"];
  if (type === "visual-embedder") return ["recall", "support"];
  return conceptMetricNames.filter((name) => areFrames || !name.startsWith("video_"));
};

const described = ({ type, isSoftmax, concepts, areFrames }: Measured): string =>
  type === "visual-detector" || type === "visual-embedder"
    ? `a ${type}`
    : `a ${type} (${concepts} concept${concepts === 1 ? "" : "s"}, logreg: ${!isSoftmax}, ${areFrames ? "videos" : "pictures"})`;
