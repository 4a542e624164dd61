// An object whose spec this release cannot read, such as one that a newer release let in: said on the object itself.

import { Condition } from "../../api/conditions.ts";
import type { Reason } from "../../api/reasons.ts";
import { conditions } from "./conditions.ts";

export interface UnreadableStatus {
  observedGeneration: number;
  conditions: Condition[];
}

/** @param problem path of the field and what is wrong with it. */
export const unreadableStatus = (
  given: { generation: number; conditions: unknown; problem: string },
  kind: "Dataset" | "DeepModel",
  now: string,
): UnreadableStatus => {
  const { generation, problem } = given;
  const before = Condition.array().safeParse(given.conditions).data;
  const reason: Reason =
    kind === "Dataset"
      ? "InputInvalid"
      : problem.startsWith("spec.template")
        ? "TemplateUnknown"
        : "HyperparameterInvalid";
  const said = { status: "False" as const, reason, message: `this release cannot read ${problem}` };
  return {
    observedGeneration: generation,
    conditions: conditions(
      before,
      { Ready: said, Accepted: said, Stalled: { ...said, status: "True" } },
      { generation, now },
    ),
  };
};
