// Judges again what the API server may have let in, under an older rule or none: the first problem of a Dataset's spec.

import type { Dataset } from "../../api/dataset.ts";
import type { Reason } from "../../api/reasons.ts";

export interface Problem {
  reason: Reason;
  message: string;
}

export const datasetProblem = ({ spec }: Dataset): Problem | undefined => {
  const { http, pvc } = spec.source;
  if ((http === undefined) === (pvc === undefined)) {
    return { reason: "InputInvalid", message: "spec.source: set exactly one of http and pvc" };
  }
  const ratios = spec.splits?.ratios;
  if (ratios !== undefined) {
    const sum = ratios.train + ratios.validation + ratios.test;
    if (Math.abs(sum - 1) > 1e-6) {
      return {
        reason: "InputInvalid",
        message: `spec.splits.ratios: train, validation and test must add up to 1, not ${sum}`,
      };
    }
  }
  if (spec.concepts !== undefined && new Set(spec.concepts).size < spec.concepts.length) {
    return {
      reason: "InputInvalid",
      message: "spec.concepts: every concept may be named once only",
    };
  }
  return undefined;
};
