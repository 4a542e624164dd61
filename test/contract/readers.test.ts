// A field enters a CustomResourceDefinition when something reads it, never before: every leaf of the users' specs has
// a change here, and each change must show in what the planner does.

import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { Dataset, DatasetSpec } from "../../api/dataset.ts";
import { DatasetSpec as DatasetSchema } from "../../api/dataset.ts";
import { type BaseSpec, DeepModelSpec } from "../../api/deepmodel.ts";
import { EffectiveHyperparameters } from "../../api/hyperparameters.ts";
import { importInputsHash } from "../../api/inputs.ts";
import { structuralSchema } from "../../api/structural.ts";
import { attemptInputs } from "../../operator/plan/attempt.ts";
import { wantedBase } from "../../operator/plan/base.ts";
import { planDeepModel } from "../../operator/plan/deepmodel.ts";
import { importJob } from "../../operator/plan/importjob.ts";
import { placementOf, threadsOf } from "../../operator/plan/placement.ts";
import {
  alone,
  at,
  baseVersion,
  dataset,
  model,
  readyDataset,
  report,
  settings,
  version,
  withBoxes,
} from "../../operator/plan/testing/gen.ts";
import { trainingJob } from "../../operator/plan/trainingjob.ts";
import { resolveSpec, wantedInputs } from "../../operator/plan/wantedinputs.ts";
import { wishOf } from "../../operator/plan/wish.ts";
import { schemaLeaves } from "./sample.ts";

type Change<Spec> = [before: Partial<Spec>, after: Partial<Spec>];

const tuned = (
  before: DeepModelSpec["hyperparameters"],
  after: DeepModelSpec["hyperparameters"],
): Change<DeepModelSpec> => [{ hyperparameters: before }, { hyperparameters: after }];

const tolerating = (
  before: Record<string, unknown>,
  after: Record<string, unknown>,
): Change<DeepModelSpec> => {
  const spec = (toleration: Record<string, unknown>) => ({
    scheduling: DeepModelSpec.shape.scheduling.parse({ tolerations: [toleration] }),
  });
  return [spec(before), spec(after)];
};

const lite = "visual-classifier/efficientnet-lite0";

const detecting = (
  before: DeepModelSpec["hyperparameters"],
  after: DeepModelSpec["hyperparameters"],
): Change<DeepModelSpec> => {
  const template = "visual-detector/ssdlite-efficientnet-lite0";
  return [
    { template, hyperparameters: before },
    { template, hyperparameters: after },
  ];
};

const embedding = (hyperparameters: DeepModelSpec["hyperparameters"]): Change<DeepModelSpec> => {
  const template = "visual-embedder/arcface-efficientnet-lite0";
  return [{ template }, { template, hyperparameters }];
};

const fetching = (
  before: Partial<NonNullable<BaseSpec["http"]>>,
  after: Partial<NonNullable<BaseSpec["http"]>>,
): Change<DeepModelSpec> => {
  const http = { url: "https://example.org/a.safetensors", sha256: "0".repeat(64) };
  return [{ base: { http: { ...http, ...before } } }, { base: { http: { ...http, ...after } } }];
};

const modelChanges: Record<string, Change<DeepModelSpec>> = {
  "spec.template": [{}, { template: "visual-classifier/efficientnet-lite0" }],
  "spec.templateRevision": [{}, { templateRevision: 1 }],
  "spec.hyperparameters.average_horizontal_flips": tuned({}, { average_horizontal_flips: false }),
  "spec.hyperparameters.base_gradient_multiplier": tuned({}, { base_gradient_multiplier: 0 }),
  "spec.hyperparameters.detection_score_threshold": detecting(
    {},
    { detection_score_threshold: 0.9 },
  ),
  "spec.hyperparameters.use_perclass_regression": detecting({}, { use_perclass_regression: true }),
  "spec.hyperparameters.batch_size": tuned({ lrate: 1 }, { lrate: 1, batch_size: 8 }),
  "spec.hyperparameters.image_size": tuned({}, { image_size: 96 }),
  "spec.hyperparameters.init_epochs": tuned({}, { init_epochs: 1 }),
  "spec.hyperparameters.step_epochs": tuned({}, { step_epochs: 1 }),
  "spec.hyperparameters.lrate_schedule": tuned({}, { lrate_schedule: "cosine" }),
  "spec.hyperparameters.early_stop_epochs": tuned({}, { early_stop_epochs: 3 }),
  "spec.hyperparameters.lrate_decay": tuned({}, { lrate_decay: 0.1 }),
  "spec.hyperparameters.label_smoothing": tuned(
    { logreg: false },
    { logreg: false, label_smoothing: 0.1 },
  ),
  "spec.hyperparameters.embeddings_size": embedding({ embeddings_size: 64 }),
  "spec.hyperparameters.angular_margin": embedding({ angular_margin: 0.5 }),
  "spec.hyperparameters.angular_scale": embedding({ angular_scale: 64 }),
  "spec.hyperparameters.weight_decay": tuned({}, { weight_decay: 0.5 }),
  "spec.hyperparameters.logreg": tuned({}, { logreg: false }),
  "spec.hyperparameters.lrate": tuned({}, { lrate: 0.5 }),
  "spec.hyperparameters.per_item_lrate": tuned({}, { per_item_lrate: 0.5 }),
  "spec.hyperparameters.per_128_lrate": tuned({}, { per_128_lrate: 0.5 }),
  "spec.hyperparameters.num_epochs": tuned(
    { init_epochs: 1, step_epochs: 1 },
    {
      init_epochs: 1,
      step_epochs: 1,
      num_epochs: 5,
    },
  ),
  "spec.hyperparameters.num_items_per_epoch": tuned({}, { num_items_per_epoch: 128 }),
  "spec.hyperparameters.test_freq": tuned({}, { test_freq: 2 }),
  "spec.hyperparameters.seed": tuned({}, { seed: 1 }),
  "spec.base.name": [{ template: lite }, { template: lite, base: { name: "none" } }],
  "spec.base.http.url": fetching({}, { url: "https://example.org/b.safetensors" }),
  "spec.base.http.sha256": fetching({}, { sha256: "1".repeat(64) }),
  "spec.base.modelRef.name": [
    { base: { modelRef: { name: "backbone" } } },
    { base: { modelRef: { name: "pets" } } },
  ],
  "spec.base.modelRef.version": [
    { base: { modelRef: { name: "backbone" } } },
    { base: { modelRef: { name: "backbone", version: 1 } } },
  ],
  "spec.datasetRef.name": [{}, { datasetRef: { name: "others" } }],
  "spec.concepts[]": [{}, { concepts: ["dog", "cat"] }],
  "spec.resources.gpus": [{}, { resources: { gpus: 1 } }],
  "spec.resources.nodes": [{}, { resources: { nodes: 2 } }],
  "spec.resources.gpuResourceName": [
    { resources: { gpus: 1 } },
    { resources: { gpus: 1, gpuResourceName: "amd.com/gpu" } },
  ],
  "spec.resources.cpu": [{}, { resources: { cpu: "7" } }],
  "spec.resources.memory": [{}, { resources: { memory: "7Gi" } }],
  "spec.scheduling.nodeSelector.*": [{}, { scheduling: { nodeSelector: { pool: "a" } } }],
  "spec.scheduling.tolerations[].key": tolerating({ key: "a" }, { key: "b" }),
  "spec.scheduling.tolerations[].operator": tolerating(
    { key: "a" },
    { key: "a", operator: "Exists" },
  ),
  "spec.scheduling.tolerations[].value": tolerating({ key: "a" }, { key: "a", value: "b" }),
  "spec.scheduling.tolerations[].effect": tolerating(
    { key: "a" },
    { key: "a", effect: "NoExecute" },
  ),
  "spec.scheduling.tolerations[].tolerationSeconds": tolerating(
    { key: "a", effect: "NoExecute" },
    { key: "a", effect: "NoExecute", tolerationSeconds: 5 },
  ),
  "spec.scheduling.priorityClassName": [{}, { scheduling: { priorityClassName: "low" } }],
  "spec.scheduling.queueName": [{}, { scheduling: { queueName: "team-a" } }],
  "spec.scheduling.workloadPriorityClassName": [
    { scheduling: { queueName: "team-a" } },
    { scheduling: { queueName: "team-a", workloadPriorityClassName: "urgent" } },
  ],
  "spec.scheduling.runtimeClassName": [{}, { scheduling: { runtimeClassName: "nvidia" } }],
  "spec.gates[].metric": [
    { gates: [{ metric: "top1", min: 0.5 }] },
    { gates: [{ metric: "macro_ap", min: 0.5 }] },
  ],
  "spec.gates[].concept": [
    { gates: [{ metric: "recall", concept: "cat", min: 0.5 }] },
    { gates: [{ metric: "recall", concept: "dog", min: 0.5 }] },
  ],
  "spec.gates[].min": [
    { gates: [{ metric: "top1", min: 0.5 }] },
    { gates: [{ metric: "top1", min: 0.99 }] },
  ],
  "spec.gates[].max": [
    { gates: [{ metric: "top1", max: 1 }] },
    { gates: [{ metric: "top1", max: 0.5 }] },
  ],
  "spec.retrainOn[]": [{ retrainOn: ["data"] }, { retrainOn: [] }],
  "spec.suspend": [{}, { suspend: true }],
  "spec.activeDeadlineSeconds": [{}, { activeDeadlineSeconds: 60 }],
  "spec.versionsToKeep": [{}, { versionsToKeep: 1 }],
};

/** Everything that is done for a model in a few situations; what is only repeated in its status is left out. */
const doneFor = (change: Partial<DeepModelSpec>): string => {
  const status = { observedGeneration: 1, wantedVersion: "pets-v9" };
  const asked = model({ spec: { hyperparameters: {}, ...change }, status });
  const data = readyDataset(withBoxes(report()));
  const base = {
    chain: [
      model({
        meta: { name: asked.spec.base?.modelRef?.name ?? "backbone" },
        status: { observedGeneration: 1, readyVersion: "backbone-v2" },
      }),
    ],
    versions: [baseVersion(1, "1"), baseVersion(2, "2")],
  };
  const resolved = resolveSpec(asked, [], data.status?.data);
  const begun = resolved && wantedBase(asked, resolved.template, base);
  const wanted = begun && wantedInputs(asked, data, resolved, begun);
  const inputs = wanted?.is === "known" ? wanted.inputs : {};
  const done = {
    artifact: { path: "artifact", digest: `sha256:${"f".repeat(64)}`, bytes: 1 },
    metrics: { split: "test", values: { top1: 0.9 }, items: 160 },
  };
  const complete = [9, 8, 7].map((number) =>
    version({ number, spec: number === 9 ? inputs : { seed: number }, status: done }),
  );
  const plans = [undefined, data, readyDataset(withBoxes(report("b")))].map((given) => {
    const { effects, status: planned } = planDeepModel({
      model: asked,
      dataset: given,
      base,
      users: alone.users,
      versions: complete,
      refusals: [],
      now: at(60),
    });
    return { effects, conditions: planned?.conditions };
  });
  const made = version({ spec: inputs });
  const threads = threadsOf(placementOf(asked.spec));
  const world = { version: made, claim: undefined, settings };
  const job = trainingJob(attemptInputs(world, asked, 1, threads), settings);
  return JSON.stringify([job, plans, wishOf(version(), asked).is]);
};

const source = (change: Partial<NonNullable<DatasetSpec["source"]["http"]>>) => ({
  source: { http: { url: "http://data.test/a.zip", ...change } },
});
const claim = (change: Partial<NonNullable<DatasetSpec["source"]["pvc"]>>) => ({
  source: { pvc: { claimName: "photos", ...change } },
});
const ratios = (train: number, validation: number, test: number) => ({
  splits: { ratios: { train, validation, test } },
});

const datasetChanges: Record<string, Change<DatasetSpec>> = {
  "spec.source.http.url": [source({}), source({ url: "http://data.test/b.zip" })],
  "spec.source.http.sha256": [source({}), source({ sha256: "0".repeat(64) })],
  "spec.source.pvc.claimName": [claim({}), claim({ claimName: "others" })],
  "spec.source.pvc.path": [claim({}), claim({ path: "cats" })],
  "spec.splits.ratios.train": [ratios(0.8, 0.1, 0.1), ratios(0.7, 0.1, 0.1)],
  "spec.splits.ratios.validation": [ratios(0.8, 0.1, 0.1), ratios(0.8, 0.2, 0.1)],
  "spec.splits.ratios.test": [ratios(0.8, 0.1, 0.1), ratios(0.8, 0.1, 0)],
  "spec.splits.seed": [{}, { splits: { seed: 1 } }],
  "spec.concepts[]": [{}, { concepts: ["cat"] }],
  "spec.tolerance.invalidPercent": [{}, { tolerance: { invalidPercent: 50 } }],
  "spec.format": [{}, { format: "coco" }],
  "spec.framesPerSecond": [
    { format: "videoFolder" },
    { format: "videoFolder", framesPerSecond: 2 },
  ],
};
/** The run file and the pod of an import, without the name, which holds the hash of the spec. */
const importFor = (given: Dataset): string => {
  const inputsHash = importInputsHash(given.spec);
  const job = importJob({ dataset: given, inputsHash, attempt: 1, oneNode: false }, settings);
  return JSON.stringify({ ...job, metadata: undefined });
};

const leavesOf = (schema: typeof DeepModelSpec | typeof DatasetSchema): string[] =>
  schemaLeaves(structuralSchema(schema, "pattern"), "spec").sort();

describe("every field of a DeepModel's spec", () => {
  it("has a change in this table", () => {
    expect(Object.keys(modelChanges).sort()).toEqual(leavesOf(DeepModelSpec));
  });

  it.each(Object.entries(modelChanges))("%s is read", (_, [before, after]) => {
    expect(doneFor(after)).not.toBe(doneFor(before));
  });

  it("is compared with what would be done anyway", () => {
    expect(doneFor({})).toBe(doneFor({}));
  });
});

describe("every field of a Dataset's spec", () => {
  it("has a change in this table", () => {
    expect(Object.keys(datasetChanges).sort()).toEqual(leavesOf(DatasetSchema));
  });

  it.each(Object.entries(datasetChanges))("%s is read", (_, [before, after]) => {
    expect(importFor(dataset({ spec: after }))).not.toBe(importFor(dataset({ spec: before })));
    expect(importInputsHash(dataset({ spec: after }).spec)).not.toBe(
      importInputsHash(dataset({ spec: before }).spec),
    );
  });
});

describe("every hyperparameter of a run file", () => {
  const folder = new URL("../../trainer-image/deeptrain_trainer/", import.meta.url);
  const sources = readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".py"))
    .map((path) => readFileSync(new URL(path, folder), "utf8"))
    .join("\n");

  it.each(Object.keys(EffectiveHyperparameters.shape))("%s is read by the trainer", (name) => {
    expect(sources).toMatch(new RegExp(`hyperparameters\\.${name}\\b`));
  });
});
