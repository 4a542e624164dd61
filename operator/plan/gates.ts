// Gates: policy over recorded metrics.

import type { Gate } from "../../api/deepmodel.ts";
import type { ModelVersion } from "../../api/modelversion.ts";
import { plain } from "./display.ts";

/** Why a complete version does not pass; undefined where it does. */
export const gateProblem = (
  gates: readonly Gate[] | undefined,
  { status }: ModelVersion,
): string | undefined => {
  for (const [index, { metric, min, max }] of (gates ?? []).entries()) {
    const field = `spec.gates[${index}]`;
    const value = status?.metrics?.values[metric];
    const split = status?.metrics?.split;
    if (value === undefined) return `${field}: ${metric} was not measured for this model`;
    if (min !== undefined && value < min) {
      return `${field}: ${metric} on ${split} is ${plain(value)}, below min ${plain(min)}; train better, or lower the gate`;
    }
    if (max !== undefined && value > max) {
      return `${field}: ${metric} on ${split} is ${plain(value)}, above max ${plain(max)}; train better, or raise the gate`;
    }
  }
  return undefined;
};

export const isComplete = ({ status }: ModelVersion): boolean => status?.artifact !== undefined;

export const isUsable = (gates: readonly Gate[] | undefined, version: ModelVersion): boolean =>
  isComplete(version) && gateProblem(gates, version) === undefined;
