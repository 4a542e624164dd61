// An object whose spec this release cannot read, such as one that a newer release let in: said on the object itself.

import { Condition } from "../../api/conditions.ts";
import type { Reason } from "../../api/reasons.ts";
import { type Claimed, condition, conditions } from "./conditions.ts";
import { availableClaim } from "./deepmodelstatus.ts";

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
  const before = readable(given.conditions);
  const reason: Reason =
    kind === "Dataset"
      ? "InputInvalid"
      : problem.startsWith("spec.template")
        ? "TemplateUnknown"
        : problem.startsWith("spec.base")
          ? "BaseIncompatible"
          : "HyperparameterInvalid";
  const said = { status: "False" as const, reason, message: `this release cannot read ${problem}` };
  return {
    observedGeneration: generation,
    conditions: conditions(
      before,
      {
        Ready: said,
        Accepted: said,
        Stalled: { ...said, status: "True" },
        ...(kind === "DeepModel" ? { Available: availableAsBefore(before) } : {}),
      },
      { generation, now },
    ),
  };
};

/** What serves goes on serving: `status.readyVersion` is not touched. */
const availableAsBefore = (before: readonly Condition[]): Claimed => {
  const known = condition({ conditions: before }, "Available");
  return known === undefined
    ? availableClaim(undefined)
    : { status: known.status, reason: known.reason, message: known.message };
};

/** Each condition that can be read; another release may have written others beside it. */
const readable = (given: unknown): Condition[] =>
  (Array.isArray(given) ? given : []).flatMap((each) => Condition.safeParse(each).data ?? []);
