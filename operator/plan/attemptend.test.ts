import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { annotation } from "../../api/group.ts";
import { Reason } from "../../api/reasons.ts";
import { type AttemptEnd, attemptEnd, inspectionEnd } from "./attemptend.ts";
import { failedRecord, version, versionSpec } from "./testing/gen.ts";

const identity = {
  uid: version().metadata.uid,
  attempt: 1,
  inputsHash: versionSpec().inputsHash,
  memory: "4Gi",
};
const failurePy = new URL("../../trainer-image/deeptrain_trainer/failure.py", import.meta.url);
const end = { succeeded: false, deadlineExceeded: false, outOfMemory: false };

const cureIn = (conclusion: AttemptEnd, reason: string): string => {
  if (conclusion.is !== "failed") throw new Error(conclusion.is);
  expect(conclusion.failure.reason).toBe(reason);
  return conclusion.cure;
};

const cureOf = (reason: string, exitCode: number): string =>
  cureIn(
    attemptEnd(
      { ...end, exitCode, terminationMessage: failedRecord(reason, "it is wrong.") },
      identity,
      false,
    ),
    reason,
  );

describe("the cure", () => {
  test.each([
    ["BaseIncompatible", /^name another base in spec\.base/],
    ["BatchLargerThanData", /^lower spec\.hyperparameters\.batch_size/],
    ["BatchNotDivisible", /^make spec\.hyperparameters\.batch_size a multiple .*spec\.resources$/],
    ["ConceptUnknown", /spec\.concepts/],
    ["ConceptsOverlap", /^name concepts in spec\.concepts that exclude one another/],
    ["InputInvalid", /^correct the data or spec\.hyperparameters$/],
    ["NoBoxes", /spec\.datasetRef\.name.*spec\.template/],
    ["NoPositives", /^add training items .*spec\.concepts$/],
    ["SingleConcept", /^name more concepts in spec\.concepts/],
    ["Diverged", /^lower the learning rate in spec\.hyperparameters$/],
  ])("of %s is a change of the inputs, not another try with the same", (reason, want) => {
    expect(cureOf(reason, 42)).toMatch(want);
    expect(cureOf(reason, 42)).not.toContain(annotation.retry);
  });

  test("of every reason that the trainer calls the input's fault is no other try, but for what answers elsewhere", () => {
    const source = readFileSync(failurePy, "utf8");
    const [, listed = ""] = /_INPUT_AT_FAULT = frozenset\(([^)]*)\)/.exec(source) ?? [];
    const reasons = [...listed.matchAll(/"(\w+)"/g)].map(([, name]) => Reason.parse(name));
    expect(reasons).toContain("ConceptsOverlap");
    for (const reason of reasons.filter((each) => each !== "BaseUnavailable")) {
      expect(cureOf(reason, 42), reason).not.toContain(annotation.retry);
    }
  });

  test("of a model that cannot be exported as it was trained is another model", () => {
    expect(cureOf("ParityFailed", 1)).toMatch(/spec\.hyperparameters.*spec\.template/);
    expect(cureOf("ParityFailed", 1)).not.toContain(annotation.retry);
  });

  test.each(["TrainingFailed", "PeerLost", "PodLost", "BaseUnavailable"])(
    "of %s is another try",
    (reason) => expect(cureOf(reason, 1)).toContain(annotation.retry),
  );

  test("of an artifact that is not there, although all was well, is another try", () => {
    expect(cureIn(inspectionEnd(end, "complete", identity), "ArtifactMissing")).toContain(
      annotation.retry,
    );
  });
});
