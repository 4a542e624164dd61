import { describe, expect, test } from "vitest";
import type { Gate } from "../../api/gate.ts";
import { metricNames } from "../../api/metrics.ts";
import { RunFile } from "../../api/run.ts";
import { attemptInputs } from "./attempt.ts";
import { MESSAGE_MAX_CHARS } from "./conditions.ts";
import { gatedConcepts, gatedStatus, gateProblem } from "./gates.ts";
import { trained } from "./testing/deepmodelstates.ts";
import { model, settings, version } from "./testing/gen.ts";
import { inspectJob, trainingJob } from "./trainingjob.ts";

/** Complete, with so much recorded of single concepts. */
const recorded = (status: object) => {
  const complete = trained();
  return version({ status: { ...complete.status, ...status } });
};

describe("a gate on one concept", () => {
  const cat = { concept: "cat", ap: 0.8, recall: 0.5, support: 30 };
  const known = recorded({ concepts: [cat] });

  test.each([
    [{ metric: "ap", concept: "cat", min: 0.8 }, undefined],
    [{ metric: "ap", concept: "cat", min: 0.5, max: 0.8 }, undefined],
    [{ metric: "support", concept: "cat", min: 30 }, undefined],
    [{ metric: "ap", concept: "cat", min: 0.81 }, "ap of cat on test is 0.8, below min 0.81"],
    [{ metric: "recall", concept: "cat", max: 0.4 }, "recall of cat on test is 0.5, above max 0.4"],
    [{ metric: "f1", concept: "cat", min: 0 }, "f1 of cat was not measured"],
    [{ metric: "ap", concept: "dog", min: 0 }, "ap of dog is not known here: .*metrics.json"],
    [{ metric: "ap", concept: "fox", min: 0 }, "pets-v1 was not trained on that concept"],
    [{ metric: "recall", min: 0 }, "recall was not measured for this model"],
    // Refused by the API server; never passed.
    [{ metric: "top1", concept: "cat", min: 0 }, "top1 of cat was not measured"],
    [{ metric: "ap", min: 0 }, "ap was not measured for this model"],
  ] satisfies [Gate, string | undefined][])("%j: %s", (gate, want) => {
    const problem = gateProblem([{ metric: "top1", min: 0.1 }, gate], known);
    if (want === undefined) expect(problem).toBeUndefined();
    else expect(problem).toMatch(new RegExp(`^spec\\.gates\\[1\\]: .*${want}`));
  });

  test("the file that is named is in the artifact", () => {
    const path = known.status?.artifact?.path;
    const gate: Gate = { metric: "ap", concept: "dog", min: 0 };
    expect(gateProblem([gate], known)).toContain(`${path}/metrics.json`);
  });

  test("what was asked for counts, whatever the status has room for", () => {
    const asked = recorded({
      concepts: [{ ...cat, ap: 0.9 }],
      gated: [
        { concept: "cat", metric: "ap", value: 0.89999 },
        { concept: "dog", metric: "ap", value: 0.7 },
        { concept: "dog", metric: "roc_auc" },
      ],
    });
    const gate = (concept: string, min: number): Gate => ({ metric: "ap", concept, min });
    expect(gateProblem([gate("dog", 0.7)], asked)).toBeUndefined();
    expect(gateProblem([gate("dog", 0.71)], asked)).toMatch(/ap of dog on test is 0.7, below/);
    // The rows are rounded.
    expect(gateProblem([gate("cat", 0.9)], asked)).toMatch(/0\.89999, below min 0\.9/);
    const unmeasured: Gate = { metric: "roc_auc", concept: "dog", min: 0 };
    expect(gateProblem([unmeasured], asked)).toMatch(/roc_auc of dog was not measured/);
    expect(gateProblem([{ ...unmeasured, metric: "f1" }], asked)).toMatch(/f1 .* not known here/);
  });
});

describe("a gate on what was not measured", () => {
  const unmeasured = (gate: Gate, status: object) => gateProblem([gate], recorded(status));
  const values = { top1: 0.9, macro_f1: 0.8 };
  const metrics = { split: "test", values, items: 160 };

  test("names what was", () => {
    const gate: Gate = { metric: "log_loss", max: 1 };
    expect(unmeasured(gate, { metrics })).toBe(
      "spec.gates[0]: log_loss was not measured for this model; name one that was (top1, macro_f1), or remove the gate",
    );
    expect(unmeasured(gate, { metrics: { ...metrics, values: {} } })).toBe(
      "spec.gates[0]: log_loss was not measured for this model; remove the gate",
    );
  });

  test("names what was of its concept, in a row or because it was asked for", () => {
    const gate: Gate = { metric: "roc_auc", concept: "cat", min: 0.5 };
    const concepts = [{ concept: "cat", ap: 0.8, support: 30 }];
    const asked = { concept: "cat", metric: "roc_auc" };
    const gated = [
      asked,
      { concept: "cat", metric: "ap", value: 0.8 },
      { ...asked, concept: "dog" },
    ];
    const named = (status: object) => unmeasured(gate, status)?.split("split; ")[1];
    expect(named({ concepts })).toBe("name one that was (ap, support), or remove the gate");
    expect(named({ gated })).toBe("name one that was (ap), or remove the gate");
    expect(named({ concepts, gated })).toBe("name one that was (ap, support), or remove the gate");
    expect(named({ gated: [asked] })).toBe("remove the gate");
  });

  test("in a message that a condition has room for", () => {
    const all = Object.fromEntries(metricNames.map((name) => [name, 0.5]));
    const { top1: _, ...others } = all;
    const problem = unmeasured(
      { metric: "top1", min: 0 },
      { metrics: { ...metrics, values: others } },
    );
    expect(problem).toContain("video_log_loss");
    expect(problem?.length).toBeLessThan(MESSAGE_MAX_CHARS / 2);
  });
});

describe("what a run is told to record", () => {
  const gates: Gate[] = [
    { metric: "top1", min: 0.5 },
    { metric: "ap", concept: "dog", min: 0.5 },
    { metric: "ap", concept: "dog", max: 0.9 },
    { metric: "recall", concept: "cat", min: 0.5 },
    { metric: "ap", concept: "fox", min: 0.5 },
  ];

  test("each metric of a concept once, by its place; nothing of other concepts", () => {
    const asked = gatedConcepts(model({ spec: { gates } }), version());
    expect(asked).toEqual([
      { concept: 1, metric: "ap" },
      { concept: 0, metric: "recall" },
    ]);
    expect(gatedConcepts(model(), version())).toEqual([]);
  });

  test("training and inspection are told", () => {
    const world = { version: version(), claim: undefined, settings };
    const inputs = attemptInputs(world, model({ spec: { gates } }), 1, 2);
    for (const job of [trainingJob, inspectJob]) {
      const text = JSON.stringify(job(inputs, settings));
      const [, run] = /"deeptrain\.dev\/run":("(?:[^"\\]|\\.)*")/.exec(text) ?? [];
      const file = RunFile.parse(JSON.parse(JSON.parse(run ?? "")));
      expect("gated" in file && file.gated).toHaveLength(2);
      expect(JSON.stringify(job({ ...inputs, gated: [] }, settings))).not.toContain("gated");
    }
  });

  test("is shown by the names of the concepts", () => {
    const said = [
      { concept: 1, metric: "ap" as const, value: 0.5 },
      { concept: 0, metric: "f1" as const },
      { concept: 2, metric: "f1" as const, value: 1 },
    ];
    expect(gatedStatus(version(), said)).toEqual({
      gated: [
        { concept: "dog", metric: "ap", value: 0.5 },
        { concept: "cat", metric: "f1" },
      ],
    });
    expect(gatedStatus(version(), undefined)).toEqual({});
  });
});
