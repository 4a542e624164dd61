// The states of a DeepModel, as the table of the design has them: the world in which each arises, and what is said.

import type { Condition } from "../../../api/conditions.ts";
import type { Dataset } from "../../../api/dataset.ts";
import type { DeepModel } from "../../../api/deepmodel.ts";
import { inputsHash } from "../../../api/inputs.ts";
import type { ModelVersion } from "../../../api/modelversion.ts";
import type { ModelWorld } from "../deepmodel.ts";
import {
  alone,
  at,
  digestOf,
  type Meta,
  model,
  readyDataset,
  report,
  T0,
  version,
  versionSpec,
} from "./gen.ts";
import type { KStatus } from "./kstatus.ts";

export interface State {
  name: string;
  world: ModelWorld;
  /** Status of each condition, with the reason of Ready; `-`: absent. */
  want: {
    Ready: string;
    Accepted: string;
    Available: string;
    Reconciling: string;
    Stalled: string;
    Retrained?: string;
  };
  kstatus: KStatus;
  argo: "Progressing" | "Healthy" | "Degraded" | "Suspended";
}

const ready = (
  status: "True" | "False" | "Unknown",
  reason: Condition["reason"],
  message: string,
) => ({
  type: "Ready",
  status,
  reason,
  message,
  observedGeneration: 1,
  lastTransitionTime: T0,
});
const also = (type: "Stalled" | "Reconciling", reason: Condition["reason"]) => ({
  ...ready("True", reason, "so"),
  type,
});

export const training = (number = 1, spec = {}): ModelVersion =>
  version({
    number,
    spec,
    status: {
      observedGeneration: 1,
      conditions: [
        ready("Unknown", "Training", "attempt 1 is running"),
        also("Reconciling", "Training"),
      ],
      attempt: 1,
      progress: {
        epoch: 2,
        epochs: 4,
        step: 38,
        steps: 76,
        percent: 50,
        updatedAt: at(60),
        display: "2/4 · 50%",
      },
    },
  });

export const trained = (number = 1, spec = {}, top1 = 0.91, meta: Meta = {}): ModelVersion =>
  version({
    number,
    spec,
    meta,
    status: {
      observedGeneration: 1,
      conditions: [ready("True", "Trained", "trained and published")],
      attempt: 1,
      artifact: { path: `shop/models/pets/v${number}`, digest: digestOf("f"), bytes: 1 },
      metrics: { split: "test", values: { top1 }, items: 160 },
      metric: `top1 ${top1.toFixed(3)}`,
    },
  });

export const failedVersion = (number = 1, spec = {}): ModelVersion =>
  version({
    number,
    spec,
    status: {
      observedGeneration: 1,
      conditions: [
        ready("False", "OutOfMemory", "attempt 1: it needed more; raise spec.resources.memory"),
        also("Stalled", "OutOfMemory"),
      ],
      attempt: 1,
    },
  });

/** Inputs of another hyperparameter than the spec's. */
export const otherInputs = { inputsHash: digestOf("0"), seed: 7 };
/** Inputs of the spec, with other data. */
export const otherData = (letter: string) => {
  const spec = versionSpec();
  return hashed({ ...spec, dataset: { ...spec.dataset, digest: digestOf(letter) } });
};

const hashed = (spec: ReturnType<typeof versionSpec>) => ({
  ...spec,
  inputsHash: inputsHash(spec),
});

const wanting = (hash: string, given = {}) => ({
  observedGeneration: 1,
  wantedHash: hash,
  wantedSince: T0,
  lastVersionNumber: 2,
  ...given,
});

export const world = (
  given: {
    model?: DeepModel;
    dataset?: Dataset | undefined;
    versions?: ModelVersion[];
  } & Partial<Omit<ModelWorld, "model" | "dataset" | "versions">> = {},
): ModelWorld => ({
  model: given.model ?? model(),
  dataset: "dataset" in given ? given.dataset : readyDataset(),
  versions: given.versions ?? [],
  base: given.base ?? alone.base,
  users: given.users ?? alone.users,
  refusals: given.refusals ?? [],
  now: given.now ?? at(3600),
});

const hash = versionSpec().inputsHash;
const none = "-";

export const deepModelStates: readonly State[] = [
  {
    name: "dataset missing",
    world: world({ dataset: undefined }),
    want: {
      Ready: "Unknown DatasetNotFound",
      Accepted: "True",
      Available: "False",
      Reconciling: "True",
      Stalled: none,
    },
    kstatus: "InProgress",
    argo: "Progressing",
  },
  {
    name: "v1 training",
    world: world({ versions: [training()] }),
    want: {
      Ready: "Unknown Training",
      Accepted: "True",
      Available: "False",
      Reconciling: "True",
      Stalled: none,
    },
    kstatus: "InProgress",
    argo: "Progressing",
  },
  {
    name: "v1 done, gates passed",
    world: world({
      model: model({ spec: { gates: [{ metric: "top1", min: 0.9 }] } }),
      versions: [trained()],
    }),
    want: {
      Ready: "True Trained",
      Accepted: "True",
      Available: "True",
      Reconciling: none,
      Stalled: none,
    },
    kstatus: "Current",
    argo: "Healthy",
  },
  {
    name: "spec changed, v2 training, v1 usable",
    world: world({
      model: model({ status: wanting(hash, { readyVersion: "pets-v1" }) }),
      versions: [trained(1, otherInputs), training(2)],
    }),
    want: {
      Ready: "Unknown Training",
      Accepted: "True",
      Available: "True",
      Reconciling: "True",
      Stalled: none,
    },
    kstatus: "InProgress",
    argo: "Progressing",
  },
  {
    name: "v2 failed, v1 usable",
    world: world({
      model: model({ status: wanting(hash, { readyVersion: "pets-v1" }) }),
      versions: [trained(1, otherInputs), failedVersion(2)],
    }),
    want: {
      Ready: "False OutOfMemory",
      Accepted: "True",
      Available: "True",
      Reconciling: none,
      Stalled: "True",
    },
    kstatus: "Failed",
    argo: "Degraded",
  },
  {
    name: "v2 past no gate, v1 usable",
    world: world({
      model: model({
        spec: { gates: [{ metric: "top1", min: 0.9 }] },
        status: wanting(hash, { readyVersion: "pets-v1" }),
      }),
      versions: [trained(1, otherInputs), trained(2, {}, 0.5)],
    }),
    want: {
      Ready: "False GateNotMet",
      Accepted: "True",
      Available: "True",
      Reconciling: none,
      Stalled: "True",
    },
    kstatus: "Failed",
    argo: "Degraded",
  },
  {
    name: "data changed, spec not; v2 training",
    world: world({
      model: model({ status: wanting(hash, { readyVersion: "pets-v1" }) }),
      versions: [trained(1, otherData("b")), training(2)],
    }),
    want: {
      Ready: "True Trained",
      Accepted: "True",
      Available: "True",
      Reconciling: none,
      Stalled: none,
      Retrained: "Unknown",
    },
    kstatus: "Current",
    argo: "Healthy",
  },
  {
    name: "data changed, spec not; v2 failed",
    world: world({
      model: model({ status: wanting(hash, { readyVersion: "pets-v1" }) }),
      versions: [trained(1, otherData("b")), failedVersion(2)],
    }),
    want: {
      Ready: "True Trained",
      Accepted: "True",
      Available: "True",
      Reconciling: none,
      Stalled: none,
      Retrained: "False",
    },
    kstatus: "Current",
    argo: "Healthy",
  },
  {
    name: "suspended, nothing trained for this spec",
    world: world({ model: model({ spec: { suspend: true } }) }),
    want: {
      Ready: "False Suspended",
      Accepted: "True",
      Available: "False",
      Reconciling: none,
      Stalled: none,
    },
    kstatus: "InProgress",
    argo: "Suspended",
  },
  {
    name: "suspended, an earlier version usable",
    world: world({
      model: model({ spec: { suspend: true }, status: wanting(hash, { readyVersion: "pets-v1" }) }),
      versions: [trained(1, otherInputs)],
    }),
    want: {
      Ready: "False Suspended",
      Accepted: "True",
      Available: "True",
      Reconciling: none,
      Stalled: none,
    },
    kstatus: "InProgress",
    argo: "Suspended",
  },
  {
    name: "spec cannot work with these data",
    world: world({
      model: model({
        spec: { concepts: ["cat", "fish"] },
        status: wanting(hash, { readyVersion: "pets-v1" }),
      }),
      versions: [trained(1, otherInputs)],
    }),
    want: {
      Ready: "False ConceptUnknown",
      Accepted: "False",
      Available: "True",
      Reconciling: none,
      Stalled: "True",
    },
    kstatus: "Failed",
    argo: "Degraded",
  },
  {
    name: "one concept, softmax",
    world: world({ dataset: readyDataset(report("a", { cat: 900 })) }),
    want: {
      Ready: "False SingleConcept",
      Accepted: "False",
      Available: "False",
      Reconciling: none,
      Stalled: "True",
    },
    kstatus: "Failed",
    argo: "Degraded",
  },
];
