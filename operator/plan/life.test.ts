// Hours in the life of a model, in a simulated cluster: every declared state is reached from every other, in whatever
// order things are seen, and then nothing more is written.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { DatasetSpec } from "../../api/dataset.ts";
import type { DeepModelSpec } from "../../api/deepmodel.ts";
import { condition } from "./conditions.ts";
import { datasetSpec, model as modelOf, report } from "./testing/gen.ts";
import { brokenInvariants } from "./testing/invariants.ts";
import { Simulation } from "./testing/simulation.ts";

const base: DeepModelSpec = modelOf().spec;

const begun = (spec: DeepModelSpec = base): Simulation => {
  const cluster = new Simulation();
  cluster.apply("DeepModel", "pets", spec);
  cluster.apply("Dataset", "photos", datasetSpec);
  return cluster;
};

const modelIn = (cluster: Simulation) => {
  const found = cluster.models.get("pets");
  if (found === undefined) throw new Error("no model");
  return found;
};

const ready = (cluster: Simulation): string => {
  const found = condition(modelIn(cluster).status, "Ready");
  return `${found?.status} ${found?.reason}`;
};

/** What does not depend on how one came here: no times, numbers or names of versions. */
const state = (cluster: Simulation) => {
  const { metadata, status } = modelIn(cluster);
  expect(brokenInvariants({ metadata, status })).toEqual([]);
  const hashOf = (name: string | undefined) => cluster.versions.get(name ?? "")?.spec.inputsHash;
  return {
    conditions: status?.conditions
      // What is served may be of an earlier spec.
      ?.filter(({ type }) => type !== "Available" && type !== "Retrained")
      .map(({ type, status: is, reason }) => `${type} ${is} ${reason}`),
    wantedHash: status?.wantedHash,
    wanted: hashOf(status?.wantedVersion),
    resolved: status?.resolved,
    running: [...cluster.jobs.values()]
      .filter(({ job }) => job.status?.conditions === undefined)
      .map(({ run }) => run.task),
  };
};

const settledState = (cluster: Simulation) => {
  cluster.settle();
  const seen = state(cluster);
  const { writes } = cluster;
  cluster.settle();
  expect(cluster.writes, "settled: no write").toBe(writes);
  return seen;
};

describe("every field: set, changed, unset", () => {
  const changes: [string, Partial<DeepModelSpec>][] = [
    [
      "template",
      { template: "visual-classifier/efficientnet-lite0", hyperparameters: { image_size: 64 } },
    ],
    ["templateRevision", { templateRevision: 2 }],
    ["hyperparameters.num_epochs", { hyperparameters: { ...base.hyperparameters, num_epochs: 7 } }],
    ["hyperparameters.seed", { hyperparameters: { ...base.hyperparameters, seed: 3 } }],
    [
      "hyperparameters.batch_size",
      { hyperparameters: { ...base.hyperparameters, batch_size: 32 } },
    ],
    [
      "hyperparameters, out of the data's range",
      { hyperparameters: { ...base.hyperparameters, batch_size: 1024, num_items_per_epoch: 5 } },
    ],
    ["hyperparameters, refused", { hyperparameters: { ...base.hyperparameters, init_epochs: 90 } }],
    ["concepts", { concepts: ["dog", "cat"] }],
    ["concepts, unknown", { concepts: ["fish", "cat"] }],
    ["datasetRef", { datasetRef: { name: "elsewhere" } }],
    ["resources", { resources: { memory: "8Gi", cpu: "3" } }],
    ["resources, with GPUs", { resources: { gpus: 2 } }],
    ["scheduling", { scheduling: { nodeSelector: { zone: "a" } } }],
    ["gates, passed", { gates: [{ metric: "top1", min: 0.5 }] }],
    ["gates, not passed", { gates: [{ metric: "top1", min: 0.99 }] }],
    ["retrainOn", { retrainOn: [] }],
    ["suspend", { suspend: true }],
    ["activeDeadlineSeconds", { activeDeadlineSeconds: 60 }],
    ["versionsToKeep", { versionsToKeep: 1 }],
    ["base, an address", { base: { http: { url: "https://a.test/w", sha256: "a".repeat(64) } } }],
    ["base, none", { base: { name: "none" } }],
    ["base, a model that is not there", { base: { modelRef: { name: "backbone" } } }],
    ["base, itself", { base: { modelRef: { name: "pets" } } }],
    ["base, refused", { base: { name: "efficientnet-lite0" } }],
    ["template, a head", { template: "context-based-classifier/linear", hyperparameters: {} }],
    [
      "template, a detector without boxes",
      { template: "visual-detector/retinanet-resnet50", hyperparameters: {} },
    ],
  ];

  test.each(changes)("%s", (_, change) => {
    const changed = { ...base, ...change };
    const freshBase = settledState(begun());
    const freshChanged = settledState(begun(changed));
    const cluster = begun();
    cluster.settle();
    cluster.apply("DeepModel", "pets", changed);
    const isTrained = change.suspend === true;
    // A model that is trained stays so when it is suspended: the one state that depends on the way to it.
    expect(settledState(cluster)).toEqual(isTrained ? freshBase : freshChanged);
    const { created } = cluster;
    const before = created.length;
    cluster.apply("DeepModel", "pets", base);
    expect(settledState(cluster)).toEqual(freshBase);
    expect(created.length, "going back trains nothing").toBe(before);
  });

  // Suspended in mid-training there is a version, and suspended from the beginning there is none.
  const inTraining = changes.filter(([name]) => name !== "suspend");
  test.each(inTraining)("%s, while the first version trains", (_, change) => {
    const changed = { ...base, ...change };
    const cluster = begun();
    cluster.ending = (run) => (run.task === "import" ? { exit: 0 } : "runs");
    cluster.settle();
    expect(ready(cluster)).toBe("Unknown Training");
    cluster.apply("DeepModel", "pets", changed);
    cluster.settle();
    cluster.ending = () => ({ exit: 0 });
    const fresh = settledState(begun(changed));
    // A run that no longer fits, but that nothing replaces, ends by itself.
    expect({ ...settledState(cluster), running: [] }).toEqual({ ...fresh, running: [] });
  });
});

describe("whatever is seen first", () => {
  test.each([
    ["on CPU", {}, ["pets-v1-a1"]],
    ["on GPUs", { resources: { gpus: 1 } }, ["pets-v1-a1", "pets-v1-a1-prepare"]],
  ])("the end is the same, with the same Jobs: %s", (_, resources, made) => {
    const spec = { ...base, ...resources };
    const want = settledState(begun(spec));
    fc.assert(
      fc.property(fc.infiniteStream(fc.nat(1000)), (numbers) => {
        const cluster = begun(spec);
        cluster.shuffle = (items) =>
          items
            // Some are not looked at in a pass at all, but never none of them for long.
            .map((item) => ({ item, at: numbers.next().value ?? 0 }))
            .filter(({ at }, _, all) => at % 3 !== 0 || all.every((each) => each.at % 3 === 0))
            .sort((a, b) => a.at - b.at)
            .map(({ item }) => item);
        for (let i = 0; i < 12; i += 1) cluster.settle();
        cluster.shuffle = (items) => items;
        expect(settledState(cluster)).toEqual(want);
        expect([...cluster.created].sort()).toEqual([
          ...made,
          expect.stringMatching(/^photos-import-/),
        ]);
      }),
      { numRuns: 100 },
    );
  });
});

describe("stories", () => {
  test("new data train v2 while v1 stays ready; its failure is told, and changes nothing else", () => {
    const cluster = begun();
    cluster.settle();
    cluster.data = report("b");
    const other: DatasetSpec = { ...datasetSpec, splits: { seed: 1 } };
    cluster.apply("Dataset", "photos", other);
    cluster.ending = (run) =>
      run.task === "import"
        ? { exit: 0 }
        : { exit: 43, record: { reason: "Diverged", message: "not finite" } };
    cluster.settle();
    const { status } = modelIn(cluster);
    expect(ready(cluster)).toBe("True Trained");
    expect(status?.readyVersion).toBe("pets-v1");
    expect(condition(status, "Retrained")).toMatchObject({
      status: "False",
      reason: "RetrainFailed",
    });
    cluster.ending = () => ({ exit: 0 });
    cluster.apply("DeepModel", "pets", base, { "deeptrain.dev/retry": "1" });
    cluster.settle();
    expect(modelIn(cluster).status?.readyVersion).toBe("pets-v2");
    expect(condition(modelIn(cluster).status, "Retrained")?.status).toBe("True");
    expect(modelIn(cluster).status?.lastHandledRetry).toBe("1");
  });

  test("a gate on a concept is judged by what the training recorded for it; one that came later is not passed unseen", () => {
    const gated = (concept: string, min: number): DeepModelSpec => ({
      ...base,
      gates: [{ metric: "ap", concept, min }],
    });
    const cluster = begun(gated("cat", 0.75));
    cluster.settle();
    expect(ready(cluster)).toBe("True Trained");
    const { created } = cluster;
    const before = created.length;
    cluster.apply("DeepModel", "pets", gated("cat", 0.85));
    cluster.settle();
    expect(ready(cluster)).toBe("False GateNotMet");
    cluster.apply("DeepModel", "pets", gated("dog", 0.1));
    cluster.settle();
    expect(ready(cluster)).toBe("False GateNotMet");
    const { status } = modelIn(cluster);
    expect(condition(status, "Ready")?.message).toMatch(
      /ap of dog is not known here.*metrics\.json/,
    );
    expect(status?.readyVersion).toBe("pets-v1");
    cluster.apply("DeepModel", "pets", gated("cat", 0.8));
    cluster.settle();
    expect(ready(cluster)).toBe("True Trained");
    expect(created.length, "gates train nothing").toBe(before);
  });

  test("out of memory, then more of it: the cure that the message names works", () => {
    const cluster = begun();
    cluster.ending = (run) =>
      run.task === "import" ? { exit: 0 } : { exit: 137, reason: "OOMKilled" };
    cluster.settle();
    expect(ready(cluster)).toBe("False OutOfMemory");
    expect(cluster.created.filter((name) => name.startsWith("pets"))).toEqual(["pets-v1-a1"]);
    cluster.ending = () => ({ exit: 0 });
    cluster.apply("DeepModel", "pets", { ...base, resources: { memory: "8Gi" } });
    cluster.settle();
    expect(ready(cluster)).toBe("True Trained");
    expect(cluster.versions.get("pets-v1")?.status?.attempts?.map(({ memory }) => memory)).toEqual([
      "4Gi",
      "8Gi",
    ]);
  });

  test("three crashes fail it, a retry gives it three more", () => {
    const cluster = begun();
    cluster.ending = (run) => (run.task === "import" ? { exit: 0 } : { exit: 1 });
    cluster.settle();
    expect(ready(cluster)).toBe("False TrainingFailed");
    cluster.apply("DeepModel", "pets", base, { "deeptrain.dev/retry": "again" });
    cluster.settle();
    expect(cluster.created.filter((name) => name.startsWith("pets"))).toEqual(
      [1, 2, 3, 4, 5, 6].map((n) => `pets-v1-a${n}`),
    );
  });

  test("suspended in mid-training, resumed as another attempt of the same version", () => {
    const cluster = begun();
    cluster.ending = (run) => (run.task === "import" ? { exit: 0 } : "runs");
    cluster.settle();
    cluster.apply("DeepModel", "pets", { ...base, suspend: true });
    cluster.settle();
    expect(ready(cluster)).toBe("False Suspended");
    expect([...cluster.jobs.keys()].filter((name) => name.startsWith("pets"))).toEqual([]);
    cluster.ending = () => ({ exit: 0 });
    cluster.apply("DeepModel", "pets", base);
    cluster.settle();
    expect(ready(cluster)).toBe("True Trained");
    const version = cluster.versions.get("pets-v1");
    expect(version?.status?.attempts?.map(({ state: is }) => is)).toEqual(["Stopped", "Succeeded"]);
    expect(version?.status?.countedAttempts).toBe(0);
  });

  test("new data in mid-training: the version goes on with the data that it began with", () => {
    const cluster = begun({ ...base, retrainOn: [] });
    const digests: string[] = [];
    cluster.ending = (run) => {
      if (run.task === "train") digests.push(`${run.attempt} ${run.dataset.digest.slice(0, 8)}`);
      return run.task === "import" ? { exit: 0 } : "runs";
    };
    cluster.settle();
    cluster.data = report("b");
    cluster.apply("Dataset", "photos", { ...datasetSpec, splits: { seed: 1 } });
    cluster.settle();
    cluster.apply("DeepModel", "pets", { ...base, retrainOn: [], suspend: true });
    cluster.settle();
    cluster.apply("DeepModel", "pets", { ...base, retrainOn: [] });
    cluster.settle();
    expect([...new Set(digests)]).toEqual(["1 sha256:a", "2 sha256:a"]);
    expect(condition(modelIn(cluster).status, "Retrained")?.reason).toBe("RetrainPending");
  });

  test("superseded in mid-training: the old one stops before the new one begins", () => {
    const cluster = begun();
    cluster.ending = (run) => (run.task === "import" ? { exit: 0 } : "runs");
    cluster.settle();
    cluster.apply("DeepModel", "pets", {
      ...base,
      hyperparameters: { num_epochs: 9, logreg: false },
    });
    cluster.settle();
    expect([...cluster.jobs.keys()].filter((name) => name.startsWith("pets"))).toEqual([
      "pets-v2-a1",
    ]);
    expect(condition(cluster.versions.get("pets-v1")?.status, "Ready")?.reason).toBe("Superseded");
  });

  test("a dozen edits keep as many versions as they should", () => {
    const cluster = begun({ ...base, versionsToKeep: 3 });
    for (let epochs = 1; epochs <= 12; epochs += 1) {
      cluster.apply("DeepModel", "pets", {
        ...base,
        versionsToKeep: 3,
        hyperparameters: { logreg: false, num_epochs: epochs },
      });
      cluster.settle();
    }
    expect([...cluster.versions.keys()]).toEqual(["pets-v10", "pets-v11", "pets-v12"]);
    expect(modelIn(cluster).status?.readyVersion).toBe("pets-v12");
  });
});

describe("a model on a model", () => {
  const embedder: DeepModelSpec = {
    ...base,
    template: "visual-embedder/arcface-resnet50",
    hyperparameters: {},
  };
  const head: DeepModelSpec = {
    ...base,
    template: "context-based-classifier/linear",
    hyperparameters: {},
    base: { modelRef: { name: "backbone" } },
  };

  test("waits until its base is trained, and is trained on it, in whatever order they come", () => {
    const ends = [
      ["backbone", "pets", "photos"],
      ["pets", "photos", "backbone"],
      ["photos", "pets", "backbone"],
    ].map((order) => {
      const cluster = new Simulation();
      for (const name of order) {
        if (name === "photos") cluster.apply("Dataset", name, datasetSpec);
        else cluster.apply("DeepModel", name, name === "pets" ? head : embedder);
        cluster.settle();
      }
      expect(ready(cluster)).toBe("True Trained");
      const [made] = [...cluster.versions.values()].filter(
        ({ spec }) => spec.model.name === "pets",
      );
      expect(made?.spec.base.model).toMatchObject({ name: "backbone", number: 1 });
      expect(cluster.created.filter((name) => name.startsWith("pets"))).toEqual(["pets-v1-a1"]);
      return settledState(cluster);
    });
    expect(new Set(ends.map((end) => JSON.stringify(end))).size).toBe(1);
  });

  test("goes on serving when its base is trained anew, and waits for a word", () => {
    const cluster = new Simulation();
    cluster.apply("Dataset", "photos", datasetSpec);
    cluster.apply("DeepModel", "backbone", embedder);
    cluster.apply("DeepModel", "pets", head);
    cluster.settle();
    cluster.apply("DeepModel", "backbone", { ...embedder, hyperparameters: { seed: 1 } });
    cluster.settle();
    expect(ready(cluster)).toBe("True Trained");
    const pending = condition(modelIn(cluster).status, "Retrained");
    expect(pending?.reason).toBe("RetrainPending");
    cluster.apply("DeepModel", "pets", head, { "deeptrain.dev/retrain": "now" });
    cluster.settle();
    expect(condition(modelIn(cluster).status, "Retrained")?.status).toBe("True");
    expect(modelIn(cluster).status).toMatchObject({
      readyVersion: "pets-v2",
      resolved: { base: { name: "backbone-v2" } },
    });
    const { writes } = cluster;
    cluster.settle();
    expect(cluster.writes, "settled: no write").toBe(writes);
  });

  test("two that begin with one another are both told, and one change frees them", () => {
    const cluster = new Simulation();
    cluster.apply("Dataset", "photos", datasetSpec);
    cluster.apply("DeepModel", "pets", { ...embedder, base: { modelRef: { name: "backbone" } } });
    cluster.apply("DeepModel", "backbone", { ...embedder, base: { modelRef: { name: "pets" } } });
    cluster.settle();
    expect(ready(cluster)).toBe("False BaseCycle");
    expect(cluster.created).toEqual([expect.stringContaining("photos-import")]);
    cluster.apply("DeepModel", "backbone", embedder);
    cluster.settle();
    expect(ready(cluster)).toBe("True Trained");
    expect(modelIn(cluster).status?.resolved?.base.name).toBe("backbone-v1");
  });
});
