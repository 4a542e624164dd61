// Builders of objects for tests: whole and valid, with the differences a test is about.

import { canonicalDigest } from "../../../api/canonical.ts";
import { Dataset, type DatasetReport, type DatasetSpec } from "../../../api/dataset.ts";
import { DeepModel, type DeepModelSpec } from "../../../api/deepmodel.ts";
import { API_VERSION, label } from "../../../api/group.ts";
import { inputsHash } from "../../../api/inputs.ts";
import { ModelVersion, type ModelVersionSpec } from "../../../api/modelversion.ts";
import type { ImportRecord, TrainingRecord } from "../../../api/record.ts";
import type { RunFile } from "../../../api/run.ts";
import type { ModelWorld } from "../deepmodel.ts";
import { Job, Pod } from "../kubernetes.ts";
import { ownerReference, type Settings } from "../plan.ts";
import { CONTAINER } from "../trainerpod.ts";

export const T0 = "2026-11-24T12:00:00.000Z";
export const at = (seconds: number): string =>
  new Date(Date.parse(T0) + seconds * 1000).toISOString();

/** The claim of the namespace's store, which all nodes can mount. */
export const claim = {
  metadata: {
    name: "deeptrain-store",
    namespace: "shop",
    uid: "uid-store",
    resourceVersion: "1",
    creationTimestamp: T0,
  },
  spec: { accessModes: ["ReadWriteMany"] },
};

export const digestOf = (letter: string): string => `sha256:${letter.repeat(64).slice(0, 64)}`;

export const settings: Settings = {
  trainerImage: "registry.test/deeptrain-trainer:1",
  progressUrl: "https://progress.test:8443",
  progressCa: "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
  store: { size: "10Gi", accessMode: "ReadWriteMany" },
  denyPrivateSources: false,
  importMemory: "2Gi",
  importLimits: { archiveBytes: 1e9, unpackedBytes: 4e9 },
};

export type Meta = {
  name?: string;
  uid?: string;
  generation?: number;
  annotations?: Record<string, string>;
  labels?: Record<string, string>;
  deletionTimestamp?: string;
};

const meta = (name: string, given: Meta = {}) => ({
  name,
  namespace: "shop",
  uid: `uid-${given.name ?? name}`,
  resourceVersion: "1",
  generation: 1,
  creationTimestamp: T0,
  ...given,
});

export const datasetSpec: DatasetSpec = {
  source: { http: { url: "http://data.test/photos.tar.gz" } },
  format: "imageFolder",
};

export const report = (
  letter = "a",
  concepts: Record<string, number> = { cat: 600, dog: 600 },
): DatasetReport => {
  const rows = Object.entries(concepts).map(([name, train]) => ({
    name,
    train,
    validation: 80,
    test: 80,
  }));
  return {
    digest: digestOf(letter),
    splitDigest: digestOf("5"),
    items: {
      train: rows.reduce((sum, row) => sum + row.train, 0),
      validation: 80 * rows.length,
      test: 80 * rows.length,
    },
    concepts: rows,
    invalid: 0,
    badItems: [],
    bytes: 1_000_000,
    warnings: [],
  };
};

/** The same, with boxes: one an item. */
export const withBoxes = (data: DatasetReport): DatasetReport => {
  const { train, validation, test } = data.items;
  const sizes = { small: 0, medium: train, large: validation + test };
  return { ...data, boxes: { train, validation, test, ignored: 0, clipped: 0, ...sizes } };
};

export const dataset = (
  given: { meta?: Meta; spec?: Partial<DatasetSpec>; status?: unknown } = {},
): Dataset =>
  Dataset.parse({
    metadata: meta("photos", given.meta),
    spec: { ...datasetSpec, ...given.spec },
    status: given.status ?? { observedGeneration: -1 },
  });

export const readyDataset = (data = report(), given: { meta?: Meta } = {}): Dataset =>
  dataset({
    ...given,
    status: {
      observedGeneration: given.meta?.generation ?? 1,
      conditions: [
        {
          type: "Ready",
          status: "True",
          reason: "Imported",
          message: "the data are ready for training",
          observedGeneration: given.meta?.generation ?? 1,
          lastTransitionTime: T0,
        },
      ],
      data,
      dataInputsHash: digestOf("d"),
    },
  });

export const model = (
  given: { meta?: Meta; spec?: Partial<DeepModelSpec>; status?: unknown } = {},
): DeepModel =>
  DeepModel.parse({
    metadata: meta("pets", given.meta),
    spec: {
      template: "visual-classifier/resnet18",
      datasetRef: { name: "photos" },
      hyperparameters: { num_epochs: 4, logreg: false, image_size: 32 },
      ...given.spec,
    },
    status: given.status ?? { observedGeneration: -1 },
  });

export const versionSpec = (number = 1): ModelVersionSpec => {
  const inputs: Omit<ModelVersionSpec, "model" | "number" | "inputsHash"> = {
    template: "visual-classifier/resnet18",
    templateRevision: 2,
    hyperparameters: {
      average_horizontal_flips: true,
      base_gradient_multiplier: 1,
      batch_size: 64,
      image_size: 32,
      init_epochs: 2,
      step_epochs: 1,
      logreg: false,
      lrate: 0.05,
      num_epochs: 4,
      num_items_per_epoch: 0,
      test_freq: 1,
    },
    seed: 0,
    concepts: ["cat", "dog"],
    dataset: { name: "photos", digest: digestOf("a"), splitDigest: digestOf("5") },
    base: { id: "none" },
  };
  return {
    model: { name: "pets", uid: "uid-pets" },
    number,
    inputsHash: inputsHash(inputs),
    ...inputs,
  };
};

export const version = (
  given: { number?: number; meta?: Meta; spec?: Partial<ModelVersionSpec>; status?: unknown } = {},
): ModelVersion => {
  const number = given.number ?? 1;
  const name = `pets-v${number}`;
  return ModelVersion.parse({
    metadata: {
      ...meta(name, given.meta),
      labels: { [label.model]: "pets" },
      ownerReferences: [ownerReference("DeepModel", { name: "pets", uid: "uid-pets" })],
    },
    spec: { ...versionSpec(number), ...given.spec },
    status: given.status ?? { observedGeneration: -1 },
  });
};

/** A complete version of the DeepModel `backbone`. */
export const baseVersion = (
  number: number,
  letter: string,
  given: { spec?: Partial<ModelVersionSpec>; status?: object } = {},
): ModelVersion => {
  const name = `backbone-v${number}`;
  const owner = { name: "backbone", uid: "uid-backbone" };
  return ModelVersion.parse({
    metadata: {
      ...meta(name),
      labels: { [label.model]: owner.name },
      ownerReferences: [ownerReference("DeepModel", owner)],
    },
    spec: { ...versionSpec(number), model: owner, ...given.spec },
    status: given.status ?? {
      observedGeneration: 1,
      artifact: {
        path: `shop/models/backbone-uid-back/v${number}/artifact`,
        digest: digestOf(letter),
        bytes: 1,
      },
    },
  });
};

type Owner = { kind: "ModelVersion" | "Dataset"; name: string; uid: string };
const pets1: Owner = { kind: "ModelVersion", name: "pets-v1", uid: "uid-pets-v1" };

export const job = (
  name: string,
  given: {
    owner?: Owner;
    meta?: Meta;
    suspend?: boolean;
    image?: string;
    conditions?: { type: string; status?: string; reason?: string; message?: string }[];
  } = {},
): Job => {
  const owner = given.owner ?? pets1;
  return Job.parse({
    metadata: {
      ...meta(name, given.meta),
      ownerReferences: [ownerReference(owner.kind, owner)],
    },
    spec: {
      suspend: given.suspend,
      template: {
        spec: { containers: [{ name: CONTAINER, image: given.image ?? settings.trainerImage }] },
      },
    },
    status: {
      conditions: (given.conditions ?? []).map((each) => ({
        status: "True",
        lastTransitionTime: T0,
        ...each,
      })),
    },
  });
};

export const complete = [{ type: "SuccessCriteriaMet" }, { type: "Complete" }];
export const failed = (reason = "BackoffLimitExceeded", message = "Job has failed") => [
  { type: "Failed", reason, message },
];

export interface PodGiven {
  job: string;
  jobUid?: string;
  meta?: Meta;
  phase?: string;
  unschedulable?: string;
  waiting?: { reason: string; message?: string };
  running?: boolean;
  exit?: { code: number; reason?: string; message?: string };
}

export const pod = (given: PodGiven): Pod => {
  const { exit, running, waiting, unschedulable } = given;
  const phase =
    given.phase ??
    (exit ? (exit.code === 0 ? "Succeeded" : "Failed") : running ? "Running" : "Pending");
  return Pod.parse({
    metadata: {
      ...meta(`${given.job}-x`, given.meta),
      ownerReferences: [
        {
          apiVersion: "batch/v1",
          kind: "Job",
          name: given.job,
          uid: given.jobUid ?? `uid-${given.job}`,
          controller: true,
        },
      ],
    },
    spec: unschedulable === undefined ? { nodeName: "node-1" } : {},
    status: {
      phase,
      conditions: [
        unschedulable === undefined
          ? { type: "PodScheduled", status: "True", lastTransitionTime: T0 }
          : {
              type: "PodScheduled",
              status: "False",
              reason: "Unschedulable",
              message: unschedulable,
            },
      ],
      containerStatuses: [
        {
          name: CONTAINER,
          imageID: "registry.test/deeptrain-trainer@sha256:abc",
          state: exit
            ? {
                terminated: {
                  exitCode: exit.code,
                  reason: exit.reason ?? (exit.code === 0 ? "Completed" : "Error"),
                  message: exit.message,
                  startedAt: at(10),
                  finishedAt: at(100),
                },
              }
            : running
              ? { running: { startedAt: at(10) } }
              : { waiting: waiting ?? { reason: "ContainerCreating" } },
        },
      ],
    },
  });
};

export const publishedRecord = (
  given: {
    uid?: string;
    attempt?: number;
    inputsHash?: string;
    top1?: number;
    more?: Partial<Extract<TrainingRecord, { outcome: "published" }>>;
  } = {},
): string =>
  JSON.stringify({
    task: "train",
    uid: given.uid ?? "uid-pets-v1",
    attempt: given.attempt ?? 1,
    outcome: "published",
    inputsHash: given.inputsHash ?? versionSpec().inputsHash,
    artifact: { path: "artifact", digest: digestOf("f"), bytes: 1000 },
    metrics: { split: "test", values: { top1: given.top1 ?? 0.91, macro_f1: 0.9 }, items: 160 },
    epochs: 4,
    steps: 76,
    bestEpoch: 3,
    ...given.more,
  });

/** What the pod of a run leaves that ended well: its data, its model, or that all is there for one. */
export const publishedBy = (run: RunFile, data: DatasetReport): ImportRecord | TrainingRecord => {
  const common = { uid: run.object.uid, attempt: run.attempt, outcome: "published" as const };
  if (run.task === "import") {
    const { digest, splitDigest, items, invalid, bytes } = data;
    const reportDigest = canonicalDigest(data);
    return { task: "import", ...common, digest, splitDigest, items, invalid, bytes, reportDigest };
  }
  if (run.task === "prepare") return { task: "train", ...common, outcome: "prepared" };
  return {
    task: "train",
    ...common,
    inputsHash: run.inputsHash,
    // Other inputs, other weights.
    artifact: { path: "artifact", digest: canonicalDigest(run.inputsHash), bytes: 1000 },
    metrics: { split: "test", values: { top1: 0.91 }, items: 160 },
    epochs: 4,
    steps: 76,
    bestEpoch: 3,
    ...(run.gated === undefined
      ? {}
      : { gated: run.gated.map((asked) => ({ ...asked, value: 0.8 })) }),
  };
};

export const API = API_VERSION;

/** A model that begins with no other, and with which none begins. */
export const alone: Pick<ModelWorld, "base" | "users"> = {
  base: { chain: [], versions: [] },
  users: { models: [], versions: [] },
};

/** What the trainer leaves behind when an attempt of `version()` has failed. */
export const failedRecord = (reason: string, message = "it went wrong"): string =>
  JSON.stringify({
    task: "train",
    uid: "uid-pets-v1",
    attempt: 1,
    outcome: "failed",
    reason,
    message,
  });
