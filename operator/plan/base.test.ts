import { describe, expect, test } from "vitest";
import { catalogueBase } from "../../api/bases.ts";
import type { Dataset } from "../../api/dataset.ts";
import type { BaseSpec, DeepModel, DeepModelSpec, DeepModelStatus } from "../../api/deepmodel.ts";
import type { ModelVersion, ModelVersionSpec } from "../../api/modelversion.ts";
import { newestTemplate } from "../../api/templates.ts";
import { type BaseWorld, wantedBase } from "./base.ts";
import { condition } from "./conditions.ts";
import { type ModelWorld, planDeepModel } from "./deepmodel.ts";
import { withoutProgress } from "./deepmodelstatus.ts";
import { trained, training, world } from "./testing/deepmodelstates.ts";
import { baseVersion, digestOf, model, readyDataset, report, T0 } from "./testing/gen.ts";
import { brokenInvariants } from "./testing/invariants.ts";

const lite = "visual-classifier/efficientnet-lite0";
const linear = "context-based-classifier/linear";
const arcface = "visual-embedder/arcface-efficientnet-lite0";

const efficientnetLite0 = catalogueBase("efficientnet-lite0");

const conditionsOf = (ready: string, reason: string, others: string[] = []) =>
  ["Ready", ...others].map((type) => ({
    type,
    status: type === "Ready" ? ready : "True",
    reason,
    message: "so",
    observedGeneration: 1,
    lastTransitionTime: T0,
  }));

const working = conditionsOf("Unknown", "Training", ["Reconciling"]);

/** The DeepModel `backbone`, ready with its first version. */
const backbone = (
  status: object = {},
  spec: Partial<DeepModelSpec> = {},
  generation = 1,
): DeepModel =>
  model({
    meta: { name: "backbone", generation },
    spec,
    status: {
      observedGeneration: 1,
      readyVersion: "backbone-v1",
      conditions: conditionsOf("True", "Trained"),
      ...status,
    },
  });

const from = (
  chain: readonly DeepModel[] = [backbone()],
  versions: readonly ModelVersion[] = [baseVersion(1, "1")],
): BaseWorld => ({ chain, versions });

const onBackbone: BaseSpec = { modelRef: { name: "backbone" } };
const asking = (
  base: BaseSpec | undefined,
  template: DeepModelSpec["template"] = "visual-classifier/resnet18",
): DeepModel =>
  model({ spec: { template, hyperparameters: {}, ...(base === undefined ? {} : { base }) } });

const found = (asked: DeepModel, given: BaseWorld = from([], [])) =>
  wantedBase(asked, newestTemplate(asked.spec.template), given);

const known = (base: ModelVersionSpec["base"]) => ({ is: "known", base, isSettled: true });

describe("where the weights begin", () => {
  test.each([
    ["nothing written, with weights in the catalogue", undefined, lite, efficientnetLite0],
    ["nothing written, without", undefined, "visual-classifier/resnet50", { id: "none" }],
    ["nothing written, a head", undefined, linear, efficientnetLite0],
    ["none", { name: "none" }, lite, { id: "none" }],
    ["a name", { name: "efficientnet-lite0" }, arcface, efficientnetLite0],
    [
      "a larger one",
      { name: "efficientnet-lite2" },
      linear,
      {
        id: "efficientnet-lite2",
        digest: "sha256:07c0ecc2c4a9e0cd1249d99697c6f70fb2a894f3099f88a645c9e3ae464a9877",
      },
    ],
    [
      "an address",
      { http: { url: "https://a.test/w", sha256: "a".repeat(64) } },
      lite,
      { id: "http", digest: digestOf("a"), url: "https://a.test/w" },
    ],
  ] as const)("%s", (_, base, template, want) => {
    expect(found(asking(base, template))).toMatchObject(known(want));
  });

  const pinned = (number: number) => ({
    id: "model",
    digest: digestOf(`${number}`),
    model: {
      name: "backbone",
      uid: "uid-backbone",
      number,
      path: `shop/models/backbone-uid-back/v${number}/artifact`,
    },
  });

  test("a model is pinned by the digest of its ready version", () => {
    expect(found(asking(onBackbone), from())).toMatchObject(known(pinned(1)));
  });

  test("a named version is pinned whatever becomes of the model", () => {
    const world = from(
      [backbone({ observedGeneration: 0 })],
      [baseVersion(1, "1"), baseVersion(2, "2")],
    );
    const asked = asking({ modelRef: { name: "backbone", version: 2 } });
    expect(found(asked, world)).toMatchObject(known(pinned(2)));
  });

  const failed = conditionsOf("False", "OutOfMemory", ["Stalled"]);

  test.each<[string, BaseWorld, BaseSpec, string, RegExp]>([
    ["no such model", from([], []), onBackbone, "BaseNotFound", /modelRef\.name.*backbone/],
    [
      "a version that is not there",
      from(),
      { modelRef: { name: "backbone", version: 9 } },
      "BaseNotFound",
      /modelRef\.version.*9/,
    ],
    [
      "a version that is not trained",
      from([backbone()], [baseVersion(1, "1", { status: { conditions: working } })]),
      { modelRef: { name: "backbone", version: 1 } },
      "BaseNotReady",
      /version 1.*Training/,
    ],
    [
      "nothing trained yet",
      from([backbone({ readyVersion: undefined, conditions: working })], []),
      onBackbone,
      "BaseNotReady",
      /Training/,
    ],
    [
      "the first training failed",
      from([backbone({ readyVersion: undefined, conditions: failed })], []),
      onBackbone,
      "BaseNotReady",
      /OutOfMemory/,
    ],
    [
      "versions of an earlier model of this name",
      from([model({ meta: { name: "backbone", uid: "new" }, status: backbone().status })]),
      onBackbone,
      "BaseNotReady",
      /backbone/,
    ],
  ])("%s: it waits, and says for what", (_, given, base, reason, message) => {
    expect(found(asking(base), given)).toEqual({
      is: "unknown",
      waiting: { reason, message: expect.stringMatching(message) },
    });
  });

  test.each([
    ["its spec changed and was not looked at", backbone({}, {}, 2)],
    ["it trains another version", backbone({ conditions: working })],
  ])("%s: its ready version is known, and nothing is made of it yet", (_, base) => {
    expect(found(asking(onBackbone), from([base]))).toMatchObject({
      is: "known",
      isSettled: false,
      waiting: { reason: "BaseNotReady" },
    });
  });

  test("a model that failed to train again is what it was", () => {
    const base = backbone({ conditions: failed });
    expect(found(asking(onBackbone), from([base]))).toMatchObject({ is: "known", isSettled: true });
  });

  test.each<[string, DeepModelSpec["template"], DeepModelSpec["template"], boolean]>([
    [
      "the same architecture",
      "visual-detector/retinanet-resnet50",
      "visual-classifier/resnet50",
      true,
    ],
    ["a detector's network", lite, "visual-detector/ssdlite-efficientnet-lite0", true],
    ["another architecture", lite, "visual-classifier/resnet18", false],
    ["a head on a classifier", linear, "visual-classifier/vit-small", true],
    ["a head on an embedder", linear, arcface, true],
    ["a head on a detector", linear, "visual-detector/retinanet-resnet50", false],
    ["a head on a head", linear, linear, false],
    ["a network on a head", lite, linear, false],
  ])("%s: %s on %s fits: %s", (_, template, base, fits) => {
    const given = from(
      [backbone({}, { template: base, hyperparameters: {} })],
      [baseVersion(1, "1", { spec: { template: base } })],
    );
    const answer = found(asking(onBackbone, template), given);
    expect(answer.is).toBe(fits ? "known" : "impossible");
    if (answer.is !== "impossible") return;
    expect(answer.problem.reason).toBe("BaseIncompatible");
    expect(answer.problem.message).toContain("spec.base.modelRef.name");
  });

  test("a model whose template has just become one that fits is waited for", () => {
    const given = from(
      [backbone({}, { template: arcface, hyperparameters: {} }, 2)],
      [baseVersion(1, "1")],
    );
    expect(found(asking(onBackbone, lite), given)).toMatchObject({
      is: "unknown",
      waiting: { reason: "BaseNotReady" },
    });
  });

  test.each([
    [
      "itself",
      [model({ spec: { base: { modelRef: { name: "pets" } } } })],
      "pets begins with pets",
    ],
    ["one on it", [backbone(), model()], "pets begins with backbone begins with pets"],
  ])("%s is a cycle", (_, chain, words) => {
    expect(
      found(asking({ modelRef: { name: chain[0]?.metadata.name ?? "" } }), from(chain)),
    ).toEqual({
      is: "impossible",
      problem: { reason: "BaseCycle", message: expect.stringContaining(words) },
    });
  });
});

describe("a model on a model", () => {
  const planned = (given: ModelWorld) => {
    const plan = planDeepModel(given);
    const { status } = plan;
    if (status === undefined) throw new Error("no status");
    expect(brokenInvariants({ metadata: given.model.metadata, status })).toEqual([]);
    return { ...plan, status };
  };
  const created = ({ effects }: { effects: unknown[] }): ModelVersionSpec[] =>
    effects.flatMap((effect) => {
      const { verb, object } = Object(effect);
      return verb === "create" ? [object.spec] : [];
    });
  const tuned = (spec: Partial<DeepModelSpec> = {}, status = {}, annotations = {}): DeepModel =>
    model({
      meta: { annotations },
      spec: { base: onBackbone, ...spec },
      status: { observedGeneration: 1, ...status },
    });

  const first = created(planned(world({ model: tuned(), base: from() })))[0];
  if (first === undefined) throw new Error("nothing is made");
  const { model: _, number: __, ...made } = first;
  const status = {
    lastVersionNumber: 1,
    readyVersion: "pets-v1",
    wantedVersion: "pets-v1",
    wantedHash: made.inputsHash,
    wantedSince: T0,
  };
  const versions = [trained(1, made)];
  const newer = from(
    [backbone({ readyVersion: "backbone-v2" })],
    [baseVersion(1, "1"), baseVersion(2, "2")],
  );

  test("is made of the pinned weights, with the defaults of a trained base", () => {
    expect(made.base).toMatchObject({ id: "model", digest: digestOf("1") });
    expect(made.hyperparameters).toMatchObject({ base_gradient_multiplier: 1, lrate: 0.005 });
  });

  test("says in status.resolved where it begins", () => {
    const { resolved } = planned(world({ model: tuned(), base: from() })).status;
    expect(resolved?.base).toEqual({ name: "backbone-v1", digest: digestOf("1") });
    const lost = planned(world({ model: tuned(), base: from([], []) })).status;
    expect(lost.resolved?.base).toEqual({ name: "backbone" });
  });

  test("counts what the wanted version loaded of it, and nothing of another base", () => {
    const counted = versions.map((each) => ({
      ...each,
      status: { ...each.status, base: { loaded: 120, new: 2 } },
    }));
    const begun = planned(world({ model: tuned({}, status), versions: counted, base: from() }));
    const { resolved } = begun.status;
    expect(resolved?.base).toMatchObject({ name: "backbone-v1", loaded: 120, new: 2 });
    const before = planned(world({ model: tuned({}, status), versions, base: from() })).status;
    expect(before.resolved?.base.loaded).toBeUndefined();
    // A mirror of a report: not written before its turn.
    expect(withoutProgress(begun.status)).toEqual(withoutProgress(before));
    const retrained = planned(world({ model: tuned({}, status), versions: counted, base: newer }));
    expect(retrained.status.wantedVersion).toBe("pets-v1");
    expect(retrained.status.resolved?.base).toEqual({
      name: "backbone-v2",
      digest: digestOf("2"),
    });
  });

  test.each([
    ["not there", from([], []), "Unknown BaseNotFound", "True", "Reconciling"],
    [
      "not trained",
      from([backbone({ readyVersion: undefined })], []),
      "Unknown BaseNotReady",
      "True",
      "Reconciling",
    ],
    ["a cycle", from([backbone(), model()]), "False BaseCycle", "False", "Stalled"],
    [
      "another architecture",
      from([backbone({}, { template: lite })]),
      "False BaseIncompatible",
      "False",
      "Stalled",
    ],
  ])("%s: nothing is made, and it is said", (_, base, ready, accepted, standing) => {
    const plan = planned(world({ model: tuned(), base }));
    expect(plan.effects).toEqual([]);
    const [is, acceptedIs] = ["Ready" as const, "Accepted" as const].map((type) =>
      condition(plan.status, type),
    );
    expect(`${is?.status} ${is?.reason}`).toBe(ready);
    expect(acceptedIs?.status).toBe(accepted);
    expect(plan.status.conditions?.some(({ type }) => type === standing)).toBe(true);
  });

  test("a base that is retrained is a change that waits, unless it is listed", () => {
    const waiting = planned(world({ model: tuned({}, status), versions, base: newer }));
    expect(waiting.effects).toEqual([]);
    expect(condition(waiting.status, "Ready")).toMatchObject({ status: "True", reason: "Trained" });
    expect(condition(waiting.status, "Retrained")).toMatchObject({
      reason: "RetrainPending",
      message: expect.stringMatching(/backbone changed.*does not list base.*retrain/),
    });
    const since = { ...waiting.status, wantedSince: T0 };
    const told = tuned({}, since, { "deeptrain.dev/retrain": "1" });
    const retrained = [
      planned(world({ model: told, versions, base: newer })),
      planned(
        world({
          model: tuned({ retrainOn: ["data", "base"] }, since),
          versions,
          base: newer,
        }),
      ),
    ];
    for (const plan of retrained) {
      expect(created(plan)).toMatchObject([{ number: 2, base: { digest: digestOf("2") } }]);
      expect(condition(plan.status, "Ready")?.status).toBe("True");
    }
  });

  test("new data are trained on with the base as it was, where only data are listed", () => {
    const given = { versions, base: newer, dataset: readyDataset(report("b")) };
    const steady = planned(world({ model: tuned({}, status), ...given }));
    expect(steady.effects).toEqual([]);
    const since = { ...steady.status, wantedSince: T0 };
    const [next] = created(planned(world({ model: tuned({}, since), ...given })));
    expect(next).toMatchObject({
      dataset: { digest: digestOf("b") },
      base: { digest: digestOf("1") },
    });
    if (next === undefined) throw new Error("nothing is made");
    const { model: _m, number: _n, ...inputs } = next;
    const both = [...versions, trained(2, inputs)];
    const after = { ...since, lastVersionNumber: 2, wantedVersion: "pets-v2" };
    const settled = planned(world({ model: tuned({}, after), ...given, versions: both }));
    expect(settled.effects).toEqual([]);
    expect(settled.status.readyVersion).toBe("pets-v2");
    expect(condition(settled.status, "Retrained")?.reason).toBe("RetrainPending");
  });

  describe("a base that is busy, where only data are listed", () => {
    const busy = from(
      [backbone({ readyVersion: "backbone-v2", conditions: working })],
      newer.versions,
    );
    const retrained = (plan: { status: DeepModelStatus }) => {
      const { status, reason } = condition(plan.status, "Retrained") ?? {};
      return `${status} ${reason}`;
    };
    /** What is planned once the same has been wanted for long enough. */
    const steady = (dataset: Dataset, base: BaseWorld, spec: Partial<DeepModelSpec> = {}) => {
      const first = planned(world({ model: tuned(spec, status), versions, base, dataset }));
      const since = { ...first.status, wantedSince: T0 };
      return planned(world({ model: tuned(spec, since), versions, base, dataset }));
    };
    /** Its next import was not looked at yet. */
    const changing = (letter: string, given: Partial<Dataset["metadata"]> = {}): Dataset => {
      const { metadata, ...rest } = readyDataset(report(letter));
      return { ...rest, metadata: { ...metadata, generation: 2, ...given } };
    };

    test.each([
      ["trained", trained(1, made), "True Trained"],
      ["in training", training(1, made), "Unknown Training"],
    ])("a version that is %s stays wanted, also once the base is gone", (_, version, ready) => {
      const { readyVersion: _r, ...before } = status;
      const plan = planned(world({ model: tuned({}, before), versions: [version], base: busy }));
      expect([plan.effects, plan.status.wantedVersion]).toEqual([[], "pets-v1"]);
      const is = condition(plan.status, "Ready");
      expect(`${is?.status} ${is?.reason}`).toBe(ready);
      expect(retrained(plan)).toBe("Unknown RetrainPending");
      const gone = planned(
        world({ model: tuned({}, plan.status), versions: [version], base: from([], []) }),
      );
      expect(gone.status.wantedVersion).toBe("pets-v1");
      expect(condition(gone.status, "Ready")?.reason).toBe(is?.reason);
    });

    test.each([
      ["with another version", busy],
      ["with the same version", from([backbone({ conditions: working })])],
    ])("new data are trained on at once with the base as it was: %s", (_, base) => {
      expect(created(steady(readyDataset(report("b")), base))).toMatchObject([
        { number: 2, dataset: { digest: digestOf("b") }, base: { digest: digestOf("1") } },
      ]);
    });

    test("data that are about to change are still waited for, and the version stays wanted", () => {
      const same = steady(changing("a"), busy);
      expect([same.effects, same.status.wantedVersion]).toEqual([[], "pets-v1"]);
      const other = steady(changing("b"), busy);
      expect(other.effects).toEqual([]);
      expect(other.status.wantedVersion).toBeUndefined();
    });

    test("the word to retrain is kept until it is not busy, and the version stays wanted", () => {
      const told = (before: object) => tuned({}, before, { "deeptrain.dev/retrain": "1" });
      const plan = planned(world({ model: told(status), versions, base: busy }));
      expect([plan.effects, plan.status.wantedVersion]).toEqual([[], "pets-v1"]);
      expect(plan.status.lastHandledRetrain).toBeUndefined();
      expect(retrained(plan)).toBe("Unknown RetrainPending");
      expect(condition(plan.status, "Retrained")?.message).toMatch(/backbone is about to change/);
      const since = { ...plan.status, wantedSince: T0 };
      const after = planned(world({ model: told(since), versions, base: newer }));
      expect(created(after)).toMatchObject([{ number: 2, base: { digest: digestOf("2") } }]);
      expect(after.status.lastHandledRetrain).toBe("1");
    });

    test("listed, or without a version that answers, it is waited for", () => {
      const listed = tuned({ retrainOn: ["data", "base"] }, { ...status, wantedSince: T0 });
      for (const given of [
        { model: listed, versions },
        { model: tuned(), versions: [] },
      ]) {
        const plan = planned(world({ ...given, base: busy }));
        expect([plan.effects, plan.status.wantedVersion]).toEqual([[], undefined]);
      }
    });

    test("data that are not listed do not block a new base, unless they are being deleted", () => {
      const spec: Partial<DeepModelSpec> = { retrainOn: ["base"] };
      expect(created(steady(changing("b"), newer, spec))).toMatchObject([
        { dataset: { digest: digestOf("a") }, base: { digest: digestOf("2") } },
      ]);
      const deleted = changing("b", { deletionTimestamp: T0 });
      const kept = steady(deleted, newer, spec);
      expect(kept.effects).toEqual([]);
    });
  });

  test("the base is deleted in use: nothing is taken away", () => {
    const plan = planned(world({ model: tuned({}, status), versions, base: from([], []) }));
    expect(plan.effects).toEqual([]);
    expect(plan.status).toMatchObject({ readyVersion: "pets-v1", wantedVersion: "pets-v1" });
    expect(condition(plan.status, "Ready")).toMatchObject({ status: "True", reason: "Trained" });
  });

  test("another base in the spec is another version", () => {
    const other = tuned({ base: { name: "none" } }, status);
    const plan = planned(world({ model: other, versions, base: from([], []) }));
    expect(condition(plan.status, "Ready")?.status).toBe("Unknown");
    expect(plan.status.readyVersion).toBe("pets-v1");
    expect(plan.status.wantedVersion).toBeUndefined();
  });

  test("the address of a file is not part of a version, its digest is", () => {
    const at = (url: string, digit: string) =>
      created(
        planned(world({ model: tuned({ base: { http: { url, sha256: digit.repeat(64) } } }) })),
      )[0]?.inputsHash;
    expect(at("https://b.test/w", "1")).toBe(at("https://a.test/w", "1"));
    expect(at("https://a.test/w", "2")).not.toBe(at("https://a.test/w", "1"));
  });
});

describe("a version that others begin with", () => {
  const three = [1, 2, 3].map((number) => trained(number, { inputsHash: digestOf(`${number}`) }));
  const removedWith = (users: Partial<ModelWorld["users"]>) =>
    planDeepModel(
      world({
        model: model({ spec: { versionsToKeep: 1 }, status: { readyVersion: "pets-v3" } }),
        versions: three,
        users: { models: [], versions: [], ...users },
      }),
    ).effects.flatMap((effect) => (effect.verb === "delete" ? [effect.name] : []));

  test("is kept while a version was made of it, or a model names it", () => {
    expect(removedWith({})).toEqual(["pets-v1", "pets-v2"]);
    const of = (uid: string, number: number) =>
      baseVersion(9, "9", {
        spec: {
          base: {
            id: "model",
            digest: digestOf("1"),
            model: { name: "pets", uid, number, path: "p" },
          },
        },
      });
    expect(removedWith({ versions: [of("uid-pets", 1)] })).toEqual(["pets-v2"]);
    expect(removedWith({ versions: [of("another", 1)] })).toEqual(["pets-v1", "pets-v2"]);
    const naming = model({ spec: { base: { modelRef: { name: "pets", version: 2 } } } });
    expect(removedWith({ models: [naming] })).toEqual(["pets-v1"]);
  });
});
