// Setting conditions: observedGeneration is stamped, lastTransitionTime moves when the status does and not with the
// message, Reconciling and Stalled exist only when True and never together (kstatus' rules).

import { type Condition, type ConditionType, conditionTypes } from "../../api/conditions.ts";
import type { Reason } from "../../api/reasons.ts";

export const MESSAGE_MAX_CHARS = 1024;

/** What a planner says about one condition; generation and times are added by `conditions`. */
export interface Claimed {
  status: "True" | "False" | "Unknown";
  reason: Reason;
  message: string;
}

export type Claims = Partial<Record<ConditionType, Claimed>>;

/** The state of the whole object: decides Ready, Reconciling and Stalled together. */
export type Outcome =
  | { is: "ready"; reason: Reason; message: string }
  /** On the way, or waiting for what will come: Ready Unknown, Reconciling. */
  | { is: "working"; reason: Reason; message: string }
  /** It will not become ready until somebody acts: Ready False, Stalled. */
  | { is: "failed"; reason: Reason; message: string }
  /** Nothing is being done, and nothing is wrong: Ready False alone. */
  | { is: "resting"; reason: Reason; message: string };

const claim = (status: Claimed["status"], { reason, message }: Outcome): Claimed => ({
  status,
  reason,
  message,
});

export const outcomeClaims = (outcome: Outcome): Claims => {
  switch (outcome.is) {
    case "ready":
      return { Ready: claim("True", outcome) };
    case "working":
      return { Ready: claim("Unknown", outcome), Reconciling: claim("True", outcome) };
    case "failed":
      return { Ready: claim("False", outcome), Stalled: claim("True", outcome) };
    case "resting":
      return { Ready: claim("False", outcome) };
  }
};

/** One line, trimmed to what the schema allows. */
export const oneLine = (message: string, maxChars = MESSAGE_MAX_CHARS): string => {
  const line = message.replace(/[\s\p{Cc}]+/gu, " ").trim();
  return line.length <= maxChars ? line : `${wellFormed(line.slice(0, maxChars - 1))}…`;
};

/** Without the half of a surrogate pair that a cut may leave at the end. */
const wellFormed = (text: string): string => text.replace(/[\uD800-\uDBFF]$/, "");

/**
 * The conditions that follow from the claims: exactly the claimed types, sorted, each with the time of the last
 * change of its status.
 */
export const conditions = (
  previous: readonly Condition[] | undefined,
  claims: Claims,
  at: { generation: number; now: string },
): Condition[] => {
  const before = new Map(previous?.map((condition) => [condition.type, condition]));
  const entries: Condition[] = [];
  for (const type of conditionTypes) {
    const claimed = claims[type];
    if (claimed === undefined) continue;
    const old = before.get(type);
    entries.push({
      type,
      status: claimed.status,
      reason: claimed.reason,
      message: oneLine(claimed.message),
      observedGeneration: at.generation,
      lastTransitionTime:
        old !== undefined && old.status === claimed.status ? old.lastTransitionTime : at.now,
    });
  }
  return entries;
};

export const condition = (
  of: { conditions?: readonly Condition[] | undefined } | undefined,
  type: ConditionType,
): Condition | undefined => of?.conditions?.find((each) => each.type === type);

export const isTrue = (
  of: { conditions?: readonly Condition[] | undefined } | undefined,
  type: ConditionType,
): boolean => condition(of, type)?.status === "True";
