import { describe, expect, test } from "vitest";
import type { Condition } from "../../api/conditions.ts";
import type { DatasetReport } from "../../api/dataset.ts";
import type { DeepModelSpec, DeepModelStatus } from "../../api/deepmodel.ts";
import { DeepModelStatus as StatusSchema } from "../../api/deepmodel.ts";
import type { Hyperparameters } from "../../api/hyperparameters.ts";
import { inputsHash } from "../../api/inputs.ts";
import type { ModelVersion } from "../../api/modelversion.ts";
import { condition } from "./conditions.ts";
import { type ModelWorld, planDeepModel, STABLE_AFTER_MS } from "./deepmodel.ts";
import type { Plan } from "./plan.ts";
import {
  deepModelStates,
  failedVersion,
  otherData,
  otherInputs,
  trained,
  training,
  world,
} from "./testing/deepmodelstates.ts";
import {
  at,
  dataset,
  digestOf,
  model,
  readyDataset,
  report,
  T0,
  version,
  versionSpec,
} from "./testing/gen.ts";
import { brokenInvariants } from "./testing/invariants.ts";
import { kstatus } from "./testing/kstatus.ts";

/** The plan, after the rules that hold for every status were checked. */
const planned = (given: ModelWorld): Plan<DeepModelStatus> & { status: DeepModelStatus } => {
  const plan = planDeepModel(given);
  if (plan.status === undefined) throw new Error("no status");
  expect(brokenInvariants({ metadata: given.model.metadata, status: plan.status })).toEqual([]);
  expect(StatusSchema.parse(plan.status)).toEqual(plan.status);
  return { ...plan, status: plan.status };
};

const shown = (conditions: readonly Condition[] | undefined, type: Condition["type"]): string => {
  const found = conditions?.find((each) => each.type === type);
  if (found === undefined) return "-";
  return type === "Ready" ? `${found.status} ${found.reason}` : found.status;
};

describe("the table of conditions", () => {
  for (const { name, world: given, want, kstatus: wantKstatus } of deepModelStates) {
    test(name, () => {
      const { status } = planned(given);
      const seen = (type: Condition["type"]) => shown(status.conditions, type);
      expect({
        Ready: seen("Ready"),
        Accepted: seen("Accepted"),
        Available: seen("Available"),
        Reconciling: seen("Reconciling"),
        Stalled: seen("Stalled"),
        Retrained: seen("Retrained"),
      }).toEqual({ Retrained: "-", ...want });
      expect(kstatus({ metadata: given.model.metadata, status })).toBe(wantKstatus);
    });
  }

  test("what the API server makes of a new object reads as in progress", () => {
    const { metadata, status } = model();
    expect(kstatus({ metadata, status })).toBe("InProgress");
  });
});

const hash = versionSpec().inputsHash;
const created = (plan: Plan<DeepModelStatus>) =>
  plan.effects.flatMap((effect) => (effect.verb === "create" ? [effect.object] : []));
const names = (plan: Plan<DeepModelStatus>) => created(plan).map(({ metadata }) => metadata.name);

describe("which version", () => {
  test("the first one is made at once, of inputs that hash as they say", () => {
    const plan = planned(world());
    expect(names(plan)).toEqual(["pets-v1"]);
    expect(created(plan)[0]).toMatchObject({
      kind: "ModelVersion",
      metadata: { ownerReferences: [{ kind: "DeepModel", uid: "uid-pets", controller: true }] },
      spec: { number: 1, inputsHash: hash, concepts: ["cat", "dog"] },
    });
    expect(plan.status).toMatchObject({
      wantedVersion: "pets-v1",
      wantedHash: hash,
      lastVersionNumber: 1,
    });
  });

  test("a label, resources, gates or a deadline start nothing", () => {
    const given = world({
      model: model({
        meta: { generation: 9, labels: { team: "a" } },
        spec: {
          resources: { memory: "8Gi" },
          scheduling: { nodeSelector: { zone: "a" } },
          activeDeadlineSeconds: 60,
          versionsToKeep: 1,
          retrainOn: [],
          gates: [{ metric: "top1", min: 0.1 }],
        },
        status: {
          lastVersionNumber: 1,
          readyVersion: "pets-v1",
          wantedHash: hash,
          wantedSince: T0,
        },
      }),
      versions: [trained()],
    });
    const plan = planned(given);
    expect(plan.effects).toEqual([]);
    expect(shown(plan.status.conditions, "Ready")).toBe("True Trained");
  });

  test("from the second on a hash must be wanted for 10 s", () => {
    const before = {
      lastVersionNumber: 1,
      readyVersion: "pets-v1",
      wantedHash: digestOf("0"),
      wantedSince: T0,
    };
    const versions = [trained(1, otherInputs)];
    const first = planned(world({ model: model({ status: before }), versions }));
    expect(first.effects).toEqual([]);
    expect(first.nextMs).toBe(STABLE_AFTER_MS);
    expect(first.status).toMatchObject({ wantedHash: hash, wantedSince: at(3600) });
    expect(first.status.wantedVersion).toBeUndefined();
    const soon = planned(
      world({ model: model({ status: first.status }), versions, now: at(3609) }),
    );
    expect([soon.effects, soon.nextMs]).toEqual([[], 1000]);
    const then = planned(world({ model: model({ status: soon.status }), versions, now: at(3610) }));
    expect(names(then)).toEqual(["pets-v2"]);
  });

  test("an edit that is reverted within 10 s makes nothing", () => {
    const status = {
      lastVersionNumber: 1,
      readyVersion: "pets-v1",
      wantedHash: digestOf("9"),
      wantedSince: at(3599),
    };
    const plan = planned(world({ model: model({ status }), versions: [trained()] }));
    expect(plan.effects).toEqual([]);
    expect(plan.status).toMatchObject({ wantedVersion: "pets-v1", readyVersion: "pets-v1" });
  });

  test("reverting goes back to a complete version at once, without training", () => {
    const status = {
      lastVersionNumber: 2,
      readyVersion: "pets-v2",
      wantedHash: digestOf("0"),
      wantedSince: T0,
    };
    const plan = planned(
      world({ model: model({ status }), versions: [trained(1), trained(2, otherInputs)] }),
    );
    expect(plan.effects).toEqual([]);
    expect(plan.status).toMatchObject({ readyVersion: "pets-v1", wantedVersion: "pets-v1" });
  });

  test("a failed version of the wanted inputs stays failed", () => {
    const plan = planned(world({ versions: [failedVersion()] }));
    expect(plan.effects).toEqual([]);
    expect(shown(plan.status.conditions, "Ready")).toBe("False OutOfMemory");
    expect(condition(plan.status, "Ready")?.message).toContain("spec.resources.memory");
  });

  test("numbers are never reused", () => {
    const status = { lastVersionNumber: 7, wantedHash: hash, wantedSince: T0 };
    expect(names(planned(world({ model: model({ status }) })))).toEqual(["pets-v8"]);
  });

  test("versions of an earlier model of this name are not ours", () => {
    const foreign = version({ number: 1 });
    const owner = {
      apiVersion: "deeptrain.dev/v1alpha1",
      kind: "DeepModel",
      name: "pets",
      uid: "old",
      controller: true,
    };
    const old = { ...foreign, metadata: { ...foreign.metadata, ownerReferences: [owner] } };
    expect(names(planned(world({ versions: [old] })))).toEqual(["pets-v1"]);
  });

  test("a name that is taken is a conflict, looked at again", () => {
    const plan = planned(
      world({
        refusals: [
          {
            kind: "ModelVersion",
            name: "pets-v1",
            reason: "NameConflict",
            message: "pets-v1 exists",
          },
        ],
      }),
    );
    expect(shown(plan.status.conditions, "Ready")).toBe("False NameConflict");
    expect(plan.effects).toEqual([]);
    expect(plan.nextMs).toBeGreaterThan(0);
    expect(plan.status.lastVersionNumber).toBe(0);
  });

  test("a refusal that may pass is waited for, not stalled", () => {
    const plan = planned(
      world({
        refusals: [
          {
            kind: "ModelVersion",
            name: "pets-v1",
            reason: "QuotaExceeded",
            message: "exceeded quota",
          },
        ],
      }),
    );
    expect(shown(plan.status.conditions, "Ready")).toBe("Unknown QuotaExceeded");
  });

  test("a model stays at its newest version's revision, and is told of a newer one", () => {
    const older = { ...versionSpec(), templateRevision: 1 };
    const spec = { ...older, inputsHash: inputsHash(older) };
    const versions = [trained(1, spec)];
    const plan = planned(world({ versions }));
    expect(plan.effects).toEqual([]);
    expect(plan.status).toMatchObject({
      readyVersion: "pets-v1",
      resolved: { templateRevision: 1, newerTemplateRevision: 2 },
    });
    // Until its user says so.
    const status = { lastVersionNumber: 1, wantedHash: hash, wantedSince: T0 };
    const revised = model({ spec: { templateRevision: 2 }, status });
    const asked = planned(world({ model: revised, versions }));
    expect(created(asked)[0]).toMatchObject({ spec: { number: 2, templateRevision: 2 } });
    expect(asked.status.resolved).not.toHaveProperty("newerTemplateRevision");
  });

  test("a revision that is not there is refused", () => {
    const plan = planned(world({ model: model({ spec: { templateRevision: 9 } }) }));
    expect(shown(plan.status.conditions, "Ready")).toBe("False TemplateUnknown");
    expect(condition(plan.status, "Accepted")?.message).toContain("spec.templateRevision");
  });

  test("what an older rule let in is judged again", () => {
    const plan = planned(
      world({ model: model({ spec: { hyperparameters: { init_epochs: 80 } } }) }),
    );
    expect(shown(plan.status.conditions, "Ready")).toBe("False HyperparameterInvalid");
    expect(condition(plan.status, "Accepted")?.message).toContain(
      "spec.hyperparameters.init_epochs",
    );
  });

  test("a model that is being deleted is left alone", () => {
    expect(planDeepModel(world({ model: model({ meta: { deletionTimestamp: T0 } }) }))).toEqual({
      effects: [],
      events: [],
    });
  });
});

describe("the data", () => {
  test("importing: it waits, and says for what", () => {
    const importing = dataset({ status: { observedGeneration: 1 } });
    const { status, effects } = planned(world({ dataset: importing }));
    expect(effects).toEqual([]);
    expect(shown(status.conditions, "Ready")).toBe("Unknown DatasetNotReady");
    expect(condition(status, "Ready")?.message).toContain("photos");
  });

  test("stale: a status of an older generation settles nothing", () => {
    const stale = readyDataset(report(), { meta: { generation: 2 } });
    const old = { ...stale, status: { ...stale.status, observedGeneration: 1 } };
    expect(shown(planned(world({ dataset: old })).status.conditions, "Ready")).toBe(
      "Unknown DatasetNotReady",
    );
  });

  test("a version that exists is used although the dataset is importing again", () => {
    const ready = readyDataset();
    const importing = { ...ready, status: { ...ready.status, observedGeneration: 0 } };
    const plan = planned(world({ dataset: importing, versions: [trained()] }));
    expect(shown(plan.status.conditions, "Ready")).toBe("True Trained");
  });

  test("a dataset that is deleted in use takes nothing away", () => {
    const settled = planned(world({ versions: [trained()] })).status;
    const plan = planned(
      world({ model: model({ status: settled }), dataset: undefined, versions: [trained()] }),
    );
    expect(shown(plan.status.conditions, "Ready")).toBe("True Trained");
    const changed = planned(
      world({
        model: model({
          meta: { generation: 2 },
          spec: { hyperparameters: { num_epochs: 9, logreg: false } },
          status: settled,
        }),
        dataset: undefined,
        versions: [trained()],
      }),
    );
    expect(shown(changed.status.conditions, "Ready")).toBe("Unknown DatasetNotFound");
    expect(shown(changed.status.conditions, "Available")).toBe("True");
  });

  test("the dataset is gone, and more memory is given to what failed for want of it: the cure works", () => {
    const failed = planned(world({ versions: [failedVersion()] })).status;
    const gone = (spec: Partial<DeepModelSpec>) =>
      planned(
        world({
          model: model({ meta: { generation: 2 }, spec, status: failed }),
          dataset: undefined,
          versions: [failedVersion()],
        }),
      );
    const cured = gone({ resources: { memory: "8Gi" } });
    expect(cured.status).toMatchObject({ wantedVersion: "pets-v1", wantedHash: hash });
    expect(shown(cured.status.conditions, "Ready")).toBe("False OutOfMemory");
    expect(gone({ concepts: ["cat", "dog"] }).status.wantedVersion).toBe("pets-v1");
    for (const spec of [
      { hyperparameters: { num_epochs: 9, logreg: false } },
      { concepts: ["dog", "cat"] },
      { datasetRef: { name: "elsewhere" } },
    ]) {
      expect(gone(spec).status.wantedVersion).toBeUndefined();
    }
  });

  test("a retry that is asked for while nothing can be trained is heard once it can", () => {
    const asked = { annotations: { "deeptrain.dev/retry": "b" }, generation: 2 };
    const status = { lastVersionNumber: 1, wantedVersion: "pets-v1", lastHandledRetry: "a" };
    const waiting = (spec: Partial<DeepModelSpec>, given: { dataset?: undefined } = {}) =>
      planned(
        world({
          model: model({ meta: asked, spec, status }),
          versions: [failedVersion()],
          ...given,
        }),
      ).status.lastHandledRetry;
    const edited = { hyperparameters: { num_epochs: 9, logreg: false } };
    expect(waiting({ hyperparameters: { init_epochs: 80 } })).toBe("a");
    expect(waiting({ concepts: ["cat", "fish"] })).toBe("a");
    expect(waiting(edited, { dataset: undefined })).toBe("a");
    expect(waiting(edited)).toBe("b");
  });

  test("a failed dataset is waited for, with its reason", () => {
    const failed = dataset({
      status: {
        observedGeneration: 1,
        conditions: ["Ready", "Stalled"].map((type) => ({
          type,
          status: type === "Ready" ? "False" : "True",
          reason: "ChecksumMismatch",
          message: "sha256 differs",
          observedGeneration: 1,
          lastTransitionTime: T0,
        })),
      },
    });
    const { status } = planned(world({ dataset: failed }));
    expect(shown(status.conditions, "Ready")).toBe("Unknown DatasetFailed");
    expect(condition(status, "Ready")?.message).toContain("ChecksumMismatch");
  });

  test.each([
    ["NoPositives", report("a", { cat: 900, dog: 0 }), {}, "concepts"],
    ["BatchLargerThanData", report("a", { cat: 20, dog: 20 }), {}, "hyperparameters.batch_size"],
    ["ConceptUnknown", report(), { concepts: ["bird", "cat"] }, "concepts"],
    ["SingleConcept", report(), { concepts: ["cat"] }, "hyperparameters.logreg"],
  ] as const)("%s before any Job", (reason, data, spec, field) => {
    const plan = planned(
      world({
        dataset: readyDataset(data),
        model: model({
          spec: { ...spec, concepts: [...("concepts" in spec ? spec.concepts : ["cat", "dog"])] },
        }),
      }),
    );
    expect(plan.effects).toEqual([]);
    expect(shown(plan.status.conditions, "Ready")).toBe(`False ${reason}`);
    expect(condition(plan.status, "Ready")?.message.split(": ")[0]).toBe(`spec.${field}`);
  });

  const counted = (items: DatasetReport["items"], concepts: DatasetReport["concepts"]) =>
    planned(
      world({
        dataset: readyDataset({ ...report(), items, concepts }),
        model: model({ spec: { hyperparameters: { logreg: true }, concepts: ["cat"] } }),
      }),
    );
  const cats = { name: "cat", train: 2000, validation: 80, test: 80 };

  test.each([
    ["everywhere", { train: 2000, validation: 80, test: 80 }, "every item shows cat"],
    ["in test", { train: 3000, validation: 90, test: 80 }, "every test item shows cat"],
    ["to train on", { train: 2000, validation: 90, test: 90 }, "every training item shows cat"],
  ])("the only concept on every item %s is a warning: metrics mean nothing", (_, items, want) => {
    const plan = counted(items, [cats]);
    expect(names(plan)).toEqual(["pets-v1"]);
    const warning = condition(plan.status, "DataWarning");
    expect(warning).toMatchObject({ status: "True", reason: "SingleConcept" });
    expect(warning?.message).toContain(want);
    expect(warning?.message).toContain("metrics mean nothing");
  });

  test("the only concept without a test split is measured on validation", () => {
    const items = { train: 3000, validation: 80, test: 0 };
    const warning = condition(counted(items, [{ ...cats, test: 0 }]).status, "DataWarning");
    expect(warning?.message).toContain("every validation item shows cat");
  });

  test.each([
    [81, 40, {}, "64 is less than the 81 concepts; about 162 is advised"],
    [700, 4, {}, "64 is less than the 700 concepts; about 1024 is advised"],
    [81, 1, { batch_size: 32 }, "32 is less than the 81 concepts; about 81 is advised"],
    [81, 40, { batch_size: 81 }, undefined],
    [64, 40, {}, undefined],
  ])("%i concepts of %i items: a hint to raise batch_size", (count, each, written, want) => {
    const concepts = Object.fromEntries(Array.from({ length: count }, (_, n) => [`c${n}`, each]));
    const plan = planned(
      world({
        dataset: readyDataset(report("a", concepts)),
        model: model({ spec: { hyperparameters: written, concepts: Object.keys(concepts) } }),
      }),
    );
    expect(names(plan)).toEqual(["pets-v1"]);
    const warning = condition(plan.status, "DataWarning");
    if (want === undefined) expect(warning).toBeUndefined();
    else expect(warning?.message).toContain(`spec.hyperparameters.batch_size: ${want}`);
    if (each === 40 && want !== undefined) expect(warning?.reason).toBe("BatchSmallerThanConcepts");
  });

  test("one concept among items of others is no warning", () => {
    const items = { train: 3000, validation: 160, test: 160 };
    const dogs = { name: "dog", train: 1000, validation: 80, test: 80 };
    expect(condition(counted(items, [cats, dogs]).status, "DataWarning")).toBeUndefined();
  });

  test("few items are a warning with the number", () => {
    const plan = planned(world({ dataset: readyDataset(report("a", { cat: 70, dog: 70 })) }));
    expect(names(plan)).toEqual(["pets-v1"]);
    expect(condition(plan.status, "DataWarning")).toMatchObject({
      status: "True",
      reason: "FewItems",
      message: expect.stringContaining("140"),
    });
  });

  test("a change that retrainOn does not list waits for the annotation", () => {
    const versions = [trained(1, otherData("b"))];
    const status = {
      lastVersionNumber: 1,
      readyVersion: "pets-v1",
      wantedHash: hash,
      wantedSince: T0,
    };
    const waiting = planned(world({ model: model({ spec: { retrainOn: [] }, status }), versions }));
    expect(waiting.effects).toEqual([]);
    expect(shown(waiting.status.conditions, "Ready")).toBe("True Trained");
    expect(condition(waiting.status, "Retrained")).toMatchObject({
      status: "Unknown",
      reason: "RetrainPending",
      message: expect.stringContaining("deeptrain.dev/retrain"),
    });
    const asked = planned(
      world({
        model: model({
          meta: { annotations: { "deeptrain.dev/retrain": "1" } },
          spec: { retrainOn: [] },
          status: waiting.status,
        }),
        versions,
      }),
    );
    expect(names(asked)).toEqual(["pets-v2"]);
    expect(asked.status.lastHandledRetrain).toBe("1");
  });

  describe("a change that retrainOn does not list, while a version trains", () => {
    const other = otherData("b");
    const before = {
      observedGeneration: 1,
      lastVersionNumber: 1,
      wantedVersion: "pets-v1",
      wantedHash: other.inputsHash,
      wantedSince: T0,
    };
    const untouched = (versions: ModelVersion[], given = {}, now = at(3600)) => {
      const first = planned(
        world({
          model: model({ spec: { retrainOn: [], ...given }, status: before }),
          versions,
          now,
        }),
      );
      // Whatever was decided in the first moment: it is so for ever.
      const status = first.status;
      return planned(
        world({
          model: model({ spec: { retrainOn: [], ...given }, status }),
          versions,
          now: at(7200),
        }),
      );
    };

    test("it goes on, and the change waits for the annotation", () => {
      const plan = untouched([training(1, other)]);
      expect([plan.effects, plan.status.wantedVersion]).toEqual([[], "pets-v1"]);
      expect(shown(plan.status.conditions, "Ready")).toBe("Unknown Training");
      expect(condition(plan.status, "Retrained")).toMatchObject({
        status: "Unknown",
        reason: "RetrainPending",
      });
      const suspended = untouched([training(1, other)], { suspend: true });
      expect(suspended.status.wantedVersion).toBe("pets-v1");
      expect(shown(suspended.status.conditions, "Ready")).toBe("False Suspended");
      const asked = planned(
        world({
          model: model({
            meta: { annotations: { "deeptrain.dev/retrain": "1" } },
            spec: { retrainOn: [] },
            status: plan.status,
          }),
          versions: [training(1, other)],
          now: at(7200),
        }),
      );
      expect(names(asked)).toEqual(["pets-v2"]);
    });

    test("past no gate it says that, not that it waits", () => {
      const plan = untouched([trained(1, other, 0.5)], { gates: [{ metric: "top1", min: 0.9 }] });
      expect(shown(plan.status.conditions, "Ready")).toBe("False GateNotMet");
      expect(shown(plan.status.conditions, "Retrained")).toBe("Unknown");
    });

    test("a failed one does not answer: other data may be its cure", () => {
      const plan = untouched([failedVersion(1, other)]);
      expect(names(plan)).toEqual(["pets-v2"]);
    });

    test("a trained one is preferred to one that was stopped", () => {
      const status = { ...before, lastVersionNumber: 2, wantedVersion: undefined };
      const stopped = training(2, otherData("c"));
      const plan = planned(
        world({
          model: model({ spec: { retrainOn: [] }, status }),
          versions: [trained(1, other), stopped],
        }),
      );
      expect(plan.status.wantedVersion).toBe("pets-v1");
    });
  });

  test("a retrained version takes over, and says so", () => {
    const versions = [trained(1, otherData("b")), training(2)];
    const status = {
      observedGeneration: 1,
      lastVersionNumber: 2,
      readyVersion: "pets-v1",
      wantedHash: hash,
      wantedSince: T0,
    };
    const before = planned(world({ model: model({ status }), versions })).status;
    const after = planned(
      world({
        model: model({ status: before }),
        versions: [trained(1, otherData("b")), trained(2)],
      }),
    ).status;
    expect(after.readyVersion).toBe("pets-v2");
    expect(shown(after.conditions, "Retrained")).toBe("True");
  });
});

describe("gates", () => {
  const gated = (min: number) =>
    model({
      spec: { gates: [{ metric: "top1", min }] },
      status: { lastVersionNumber: 1, readyVersion: "pets-v1", wantedHash: hash, wantedSince: T0 },
    });

  test("tightening makes Ready False but withdraws nothing; relaxing needs no training", () => {
    const tight = planned(world({ model: gated(0.95), versions: [trained()] }));
    expect(shown(tight.status.conditions, "Ready")).toBe("False GateNotMet");
    expect(condition(tight.status, "Ready")?.message).toMatch(/spec\.gates\[0\].*0\.91.*0\.95/);
    expect(shown(tight.status.conditions, "Available")).toBe("True");
    expect(tight.status.readyVersion).toBe("pets-v1");
    const relaxed = planned(world({ model: gated(0.9), versions: [trained()] }));
    expect(relaxed.effects).toEqual([]);
    expect(shown(relaxed.status.conditions, "Ready")).toBe("True Trained");
  });

  test("a metric that was not measured does not pass", () => {
    const plan = planned(
      world({
        model: model({ spec: { gates: [{ metric: "macro_ap", min: 0 }] } }),
        versions: [trained()],
      }),
    );
    expect(shown(plan.status.conditions, "Ready")).toBe("False GateNotMet");
    expect(shown(plan.status.conditions, "Available")).toBe("False");
  });
});

describe("suspend", () => {
  test("starts nothing, and a trained model stays ready", () => {
    expect(planned(world({ model: model({ spec: { suspend: true } }) })).effects).toEqual([]);
    const plan = planned(
      world({ model: model({ spec: { suspend: true } }), versions: [trained()] }),
    );
    expect(shown(plan.status.conditions, "Ready")).toBe("True Trained");
  });
});

describe("retention", () => {
  const many = Array.from({ length: 4 }, (_, i) => {
    const each = trained(i + 2, { inputsHash: digestOf(`${i}`), seed: i + 1 });
    return { ...each, status: { ...each.status, lastWantedAt: at(i) } };
  });

  test("the least recently wanted complete versions go, never the ready or the wanted one", () => {
    const status = {
      lastVersionNumber: 5,
      readyVersion: "pets-v1",
      wantedHash: hash,
      wantedSince: T0,
    };
    const plan = planned(
      world({
        model: model({ spec: { versionsToKeep: 2 }, status }),
        versions: [trained(1), ...many],
      }),
    );
    expect(plan.effects).toEqual(
      [2, 3, 4].map((n) => ({
        verb: "delete",
        kind: "ModelVersion",
        namespace: "shop",
        name: `pets-v${n}`,
        uid: `uid-pets-v${n}`,
        foreground: false,
      })),
    );
  });

  test("the last three failed versions are kept", () => {
    const versions = [2, 3, 4, 5, 6].map((n) =>
      failedVersion(n, { inputsHash: digestOf(`${n}`), seed: n }),
    );
    const plan = planned(world({ versions: [trained(1), ...versions] }));
    expect(plan.effects.map((effect) => effect.verb === "delete" && effect.name)).toEqual([
      "pets-v2",
      "pets-v3",
    ]);
  });
});

describe("retention of stopped versions", () => {
  const stopped = (number: number, reason: "Superseded" | "Suspended" = "Superseded") => {
    const each = failedVersion(number, { inputsHash: digestOf(`${number % 10}`), seed: number });
    const ready = { type: "Ready" as const, status: "False" as const, reason, message: "stopped" };
    const conditions = [{ ...ready, observedGeneration: 1, lastTransitionTime: T0 }];
    return { ...each, status: { ...each.status, conditions, lastWantedAt: at(100 - number) } };
  };
  const removed = (versions: ModelVersion[], given = {}) =>
    planned(
      world({ model: model({ status: { lastVersionNumber: 99, ...given } }), versions }),
    ).effects.map((effect) => effect.verb === "delete" && effect.name);

  test("the last three are kept, the least recently wanted go first", () => {
    const many = [2, 3, 4, 5, 6].map((n) => stopped(n));
    expect(removed([trained(1), ...many])).toEqual(["pets-v6", "pets-v5"]);
    const always = Array.from({ length: 200 }, (_, i) => stopped(i + 2));
    expect(removed([trained(1), ...always])).toHaveLength(197);
  });

  test("never the wanted one, nor one that has not come to rest", () => {
    const wanted = { ...stopped(2), spec: versionSpec(2), status: { ...stopped(2).status } };
    const going = [7, 8, 9].map((n) => training(n, { inputsHash: digestOf(`${n}`), seed: n }));
    const fresh = version({ number: 10, spec: { inputsHash: digestOf("e"), seed: 10 } });
    expect(removed([wanted, stopped(3), stopped(4), stopped(5), ...going, fresh])).toEqual([]);
  });
});

describe("the status", () => {
  test("shows progress, metric and what the spec means", () => {
    const { status } = planned(world({ versions: [training()] }));
    expect(status.progress?.display).toBe("2/4 · 50%");
    expect(status.resolved).toMatchObject({
      templateRevision: 2,
      optimizer: "SGD",
      base: { name: "none" },
      concepts: 2,
      stepsPerEpoch: 19,
      totalSteps: 76,
      hyperparameters: {
        num_epochs: { value: 4, source: "given" },
        batch_size: { value: 64, source: "default" },
      },
    });
    const done = planned(world({ versions: [trained()] })).status;
    expect(done.metric).toBe("top1 0.910");
    expect(done.metrics?.values.top1).toBe(0.91);
  });

  const written = { num_epochs: 4, logreg: false, image_size: 32 };
  const resolvedOf = (hyperparameters: Hyperparameters) => {
    const asked = model({ spec: { hyperparameters: { ...written, ...hyperparameters } } });
    return planned(world({ model: asked, versions: [training()] })).status;
  };

  test("shows no epochs of drops where the rate falls with a cosine", () => {
    expect(resolvedOf({}).resolved).toMatchObject({
      dropEpochs: [2, 3],
      hyperparameters: { lrate_schedule: { value: "step", source: "default" } },
    });
    const { dropEpochs, hyperparameters } = resolvedOf({ lrate_schedule: "cosine" }).resolved ?? {};
    expect(dropEpochs).toEqual([]);
    expect(hyperparameters).toMatchObject({
      lrate_schedule: { value: "cosine", source: "given" },
    });
    expect(hyperparameters).not.toHaveProperty("init_epochs");
    expect(hyperparameters).not.toHaveProperty("step_epochs");
  });

  test("keeps its version where the template's own values are written", () => {
    const same = resolvedOf({ lrate_schedule: "step", weight_decay: 1e-4 });
    expect(same.wantedVersion).toBe(resolvedOf({}).wantedVersion);
    expect(same.resolved?.hyperparameters.weight_decay).toEqual({ value: 1e-4, source: "given" });
    expect(resolvedOf({ weight_decay: 0 }).wantedVersion).not.toBe(same.wantedVersion);
  });

  test("settled: the same again, to the letter", () => {
    for (const versions of [[trained()], [training()], [failedVersion()]]) {
      const first = planned(world({ versions })).status;
      const again = planned(world({ model: model({ status: first }), versions, now: at(9999) }));
      expect(again.status).toEqual(first);
      expect(again.effects).toEqual([]);
      expect(again.events).toEqual([]);
    }
  });

  test("events are for transitions", () => {
    const plan = planned(world({ versions: [trained()] }));
    expect(plan.events).toContainEqual(
      expect.objectContaining({ type: "Normal", reason: "Trained" }),
    );
  });
});
