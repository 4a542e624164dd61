// Judges again what the API server may have let in, under an older rule or none: the first problem of a spec.

import type { Dataset } from "../../api/dataset.ts";
import type { DeepModel } from "../../api/deepmodel.ts";
import type { Reason } from "../../api/reasons.ts";
import { type Problem as FieldProblem, judgeDataset, judgeDeepModel } from "../../api/validate.ts";

export interface Problem {
  reason: Reason;
  message: string;
}

const worded = (reason: Reason, problem: FieldProblem | undefined): Problem | undefined =>
  problem === undefined ? undefined : { reason, message: `${problem.field}: ${problem.message}` };

export const datasetProblem = (dataset: Dataset): Problem | undefined =>
  worded("InputInvalid", judgeDataset(dataset)[0]);

export const deepModelProblem = (model: DeepModel): Problem | undefined => {
  const problem = judgeDeepModel(model)[0];
  const isOf = (field: string) => problem?.field.startsWith(field) === true;
  const reason = isOf("spec.template")
    ? "TemplateUnknown"
    : isOf("spec.base")
      ? "BaseIncompatible"
      : "HyperparameterInvalid";
  return worded(reason, problem);
};
