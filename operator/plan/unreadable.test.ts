import { describe, expect, test } from "vitest";
import { at, T0 } from "./testing/gen.ts";
import { brokenInvariants } from "./testing/invariants.ts";
import { unreadableStatus } from "./unreadable.ts";

const available = {
  type: "Available",
  status: "True",
  reason: "Available",
  message: "pets-v1 is usable",
  observedGeneration: 1,
  lastTransitionTime: T0,
};

const told = (conditions: unknown, kind: "Dataset" | "DeepModel" = "DeepModel") => {
  const given = { generation: 2, conditions, problem: "spec.template: unknown" };
  const status = unreadableStatus(given, kind, at(60));
  expect(brokenInvariants({ metadata: { generation: 2 }, status })).toEqual([]);
  return status.conditions;
};
const shown = (conditions: unknown, kind?: "Dataset" | "DeepModel") =>
  told(conditions, kind).map(({ type, status, reason }) => `${type} ${status} ${reason}`);

describe("a spec that cannot be read", () => {
  test("takes nothing out of service: Available stays as it was", () => {
    expect(shown([available])).toEqual([
      "Ready False TemplateUnknown",
      "Accepted False TemplateUnknown",
      "Available True Available",
      "Stalled True TemplateUnknown",
    ]);
    expect(told([available])).toContainEqual({ ...available, observedGeneration: 2 });
  });

  test.each([
    ["spec.template: unknown", "TemplateUnknown"],
    ["spec.base.name: unknown", "BaseIncompatible"],
    ["spec.hyperparameters.lrate: a string", "HyperparameterInvalid"],
  ])("says which part of it: %s", (problem, reason) => {
    const { conditions } = unreadableStatus(
      { generation: 1, conditions: [], problem },
      "DeepModel",
      T0,
    );
    expect(conditions[0]).toMatchObject({ type: "Ready", status: "False", reason });
  });

  test("that was never seen before has nothing to be available", () => {
    expect(shown(undefined)).toContain("Available False NothingTrained");
    expect(shown(undefined, "Dataset").join()).not.toContain("Available");
  });

  test("a condition that another release wrote hides no other", () => {
    expect(shown([{ ...available, type: "Fresher" }, available])).toContain(
      "Available True Available",
    );
  });
});
