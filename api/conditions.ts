// The shape of a condition and the closed set of condition types. Setting them is the planner's work.

import { z } from "zod";
import { reasons } from "./reasons.ts";
import { time } from "./statusfields.ts";

export const conditionTypes = [
  "Ready",
  "Accepted",
  "Available",
  "Reconciling",
  "Stalled",
  "Retrained",
  "DataWarning",
  "ProgressStale",
] as const;
export type ConditionType = (typeof conditionTypes)[number];

export const Condition = z
  .object({
    type: z.enum(conditionTypes).describe("Which question this condition answers."),
    status: z.enum(["True", "False", "Unknown"]).describe("True, False or Unknown."),
    reason: z.enum(reasons).describe("One word for the state, out of a closed set."),
    message: z
      .string()
      .max(1024)
      .describe("One line: what is so, the field it is about, and what to do."),
    observedGeneration: z
      .int()
      .min(0)
      .max(Number.MAX_SAFE_INTEGER)
      .describe("The metadata.generation that this condition speaks of."),
    lastTransitionTime: time.describe("When the status of this condition last changed."),
  })
  .describe("One observation of this object's state.");
export type Condition = z.infer<typeof Condition>;

export const Conditions = z
  .array(Condition)
  .max(16)
  .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"] })
  .describe("The latest observations, one for each type.");
