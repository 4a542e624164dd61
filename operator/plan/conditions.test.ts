import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Claims, conditions, type Outcome, oneLine, outcomeClaims } from "./conditions.ts";
import { at, T0 } from "./testing/gen.ts";
import { brokenInvariants } from "./testing/invariants.ts";

const set = (
  previous: Parameters<typeof conditions>[0],
  claims: Claims,
  now: string,
  generation = 1,
) => conditions(previous, claims, { generation, now });

const outcome = fc.record({
  is: fc.constantFrom<Outcome["is"]>("ready", "working", "failed", "resting"),
  reason: fc.constantFrom("Training" as const, "Trained" as const, "OutOfMemory" as const),
  message: fc.string({ minLength: 1, maxLength: 3000, unit: "binary" }).map((text) => `m${text}`),
});

describe("conditions", () => {
  test("the time moves with the status, not with reason or message", () => {
    const first = set(
      undefined,
      { Ready: { status: "Unknown", reason: "Starting", message: "a" } },
      T0,
    );
    const second = set(
      first,
      { Ready: { status: "Unknown", reason: "Training", message: "b" } },
      at(9),
      2,
    );
    expect(second).toMatchObject([
      { reason: "Training", lastTransitionTime: T0, observedGeneration: 2 },
    ]);
    const third = set(
      second,
      { Ready: { status: "True", reason: "Trained", message: "c" } },
      at(10),
      2,
    );
    expect(third).toMatchObject([{ lastTransitionTime: at(10) }]);
  });

  test("what is not claimed is gone", () => {
    const before = set(
      undefined,
      outcomeClaims({ is: "failed", reason: "OutOfMemory", message: "m" }),
      T0,
    );
    const after = set(
      before,
      outcomeClaims({ is: "working", reason: "Training", message: "m" }),
      at(1),
    );
    expect(after.map(({ type }) => type)).toEqual(["Ready", "Reconciling"]);
  });

  test("the order is always the same, so that nothing differs that is equal", () => {
    const a: Claims = {
      Available: { status: "True", reason: "Available", message: "m" },
      Ready: { status: "True", reason: "Trained", message: "m" },
    };
    expect(set(undefined, a, T0).map(({ type }) => type)).toEqual(["Ready", "Available"]);
  });

  test("whatever is said in whatever order, the rules hold", () => {
    fc.assert(
      fc.property(fc.array(outcome, { minLength: 1, maxLength: 8 }), (outcomes) => {
        let seen: ReturnType<typeof conditions> | undefined;
        for (const [i, each] of outcomes.entries()) {
          seen = set(seen, outcomeClaims(each), at(i), i);
          const status = { observedGeneration: i, conditions: seen };
          expect(brokenInvariants({ metadata: { generation: i }, status })).toEqual([]);
        }
      }),
    );
  });

  test("one line, cut between characters", () => {
    expect(oneLine(" a\n\tb\u0007c ")).toBe("a b c");
    expect(oneLine("😀".repeat(600)).length).toBeLessThanOrEqual(1024);
    expect(oneLine("😀".repeat(600)).isWellFormed()).toBe(true);
  });
});
