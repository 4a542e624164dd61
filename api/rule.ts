// What a rule is: one condition, once in CEL for the API server and once as a predicate.

import type { z } from "zod";
import type { ValidationRule } from "./structural.ts";

export interface Judgement {
  /** Where it sits: `spec`, `spec.source`, `spec.gates[]`. */
  at: string;
  /** The field below that it names, `.max`; absent: the one where it sits. */
  fieldPath?: string;
  /** Judges a value that was found there; a value that does not fit its schema is not judged. */
  holds: (self: unknown) => boolean;
  message: string;
}

/** What the API server judges. */
export type Rule = Judgement & ValidationRule;

export const judging =
  <T>(schema: z.ZodType<T>, holds: (self: T) => boolean) =>
  (self: unknown): boolean => {
    const parsed = schema.safeParse(self);
    return !parsed.success || holds(parsed.data);
  };

export const ruleOn = <T>(
  schema: z.ZodType<T>,
  at: string,
  rule: ValidationRule & { holds: (self: T) => boolean },
): Rule => ({ ...rule, at, holds: judging(schema, rule.holds) });
