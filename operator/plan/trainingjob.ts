// The Jobs of a version: the training of one attempt, what prepares it on CPU, and the inspection that repeats a lost
// record.

import {
  annotation,
  basesPath,
  datasetPath,
  derivedPath,
  label,
  podPath,
  versionPath,
} from "../../api/group.ts";
import type { ModelVersion } from "../../api/modelversion.ts";
import {
  type GatedConcept,
  type InspectRun,
  type PrepareRun,
  RunBase,
  type TrainRun,
} from "../../api/run.ts";
import { newestTemplate } from "../../api/templates.ts";
import { splitScheduling } from "./kueue.ts";
import { jobPlacement, type Placement, placementAlone, resourceQuantities } from "./placement.ts";
import type { Manifest, Settings } from "./plan.ts";
import { ownerReference, ownLabels } from "./plan.ts";
import { type StoreMount, type TrainerJob, trainerJob } from "./trainerpod.ts";

export const trainingJobName = (version: string, attempt: number): string =>
  `${version}-a${attempt}`;
export const prepareJobName = (version: string, attempt: number): string =>
  `${trainingJobName(version, attempt)}-prepare`;
export const inspectJobName = (version: string, attempt: number): string =>
  `${trainingJobName(version, attempt)}-inspect`;

export interface AttemptInputs {
  version: ModelVersion;
  attempt: number;
  placement: Placement;
  /** Fixed at the first attempt, so that a resumed run is bit-equal. */
  threads: number;
  /** Of a detector: as its DeepModel has it now. */
  detectionScoreThreshold?: number;
  /** What its DeepModel's gates ask of single concepts now. */
  gated?: readonly GatedConcept[];
  oneNode: boolean;
}

export const trainingJob = (inputs: AttemptInputs, settings: Settings): Manifest => {
  const { version, placement } = inputs;
  const { metadata } = version;
  const run: TrainRun = {
    task: "train",
    ...runIdentity(inputs, settings),
    ...trained(inputs, settings),
    ...(inputs.detectionScoreThreshold === undefined
      ? {}
      : { detection_score_threshold: inputs.detectionScoreThreshold }),
    ...runGated(inputs),
    output: podPath.output,
    threads: inputs.threads,
    gpus: placement.gpus,
    ...(placement.nodes === undefined
      ? {}
      : {
          nodes: placement.nodes,
          rendezvous: {
            host: `${trainingJobName(metadata.name, inputs.attempt)}-0.${metadata.name}`,
            port: RENDEZVOUS_PORT,
          },
        }),
  };
  return trainerJob(
    {
      ...common(inputs, "train", trainingJobName(metadata.name, inputs.attempt)),
      ...placed(inputs),
      run,
      store: [...inputMounts(version), outputMount(version, false)],
      resources: resourceQuantities(placement),
      ...(placement.nodes === undefined
        ? {}
        : { gang: { pods: placement.nodes, service: metadata.name } }),
    },
    settings,
  );
};

/**
 * Runs where the training may run, but must not need a node with GPUs: it asks for none, and not for the runtime class
 * that hands them out. It reports nothing: until it has ended, there is no progress of the training.
 */
export const prepareJob = (asked: AttemptInputs, settings: Settings): Manifest => {
  const { version } = asked;
  const placement = placementAlone(asked.placement, version.spec.template);
  const inputs = { ...asked, placement };
  const shared = common(inputs, "prepare", prepareJobName(version.metadata.name, inputs.attempt));
  const { runtimeClassName: _, ...scheduling } = shared.scheduling ?? {};
  const { progressUrl: __, ...identity } = runIdentity(inputs, settings);
  const run: PrepareRun = {
    task: "prepare",
    ...identity,
    ...trained(inputs, settings),
    threads: inputs.threads,
  };
  return trainerJob(
    {
      ...shared,
      ...placed(inputs),
      scheduling,
      run,
      store: inputMounts(version),
      resources: resourceQuantities({ ...placement, gpus: 0 }),
    },
    settings,
  );
};

/** What a run is told of that which is trained. */
const trained = (inputs: AttemptInputs, settings: Settings) => {
  const { spec } = inputs.version;
  const { inputsHash, template, templateRevision, hyperparameters, seed, concepts } = spec;
  return {
    inputsHash,
    template,
    templateRevision,
    hyperparameters,
    seed,
    concepts,
    dataset: {
      path: podPath.data,
      digest: spec.dataset.digest,
      splitDigest: spec.dataset.splitDigest,
    },
    base: runBase(inputs, settings),
    ...(isOnDerived(inputs.version) ? { derived: podPath.derived } : {}),
  };
};

/** As the user placed the attempt. */
const placed = ({ placement, threads }: AttemptInputs) => ({
  annotations: { [annotation.placement]: JSON.stringify(jobPlacement(placement, threads)) },
  ...(placement.activeDeadlineSeconds === undefined
    ? {}
    : { activeDeadlineSeconds: placement.activeDeadlineSeconds }),
});

const inputMounts = (version: ModelVersion): StoreMount[] => [
  {
    subPath: datasetPath(version.metadata.namespace, version.spec.dataset.digest),
    mountPath: podPath.data,
    readOnly: true,
  },
  ...baseMounts(version),
  ...derivedMounts(version),
];

/** Where PyTorch's processes meet by custom. */
const RENDEZVOUS_PORT = 29500;

/** Gives the pods of a version's attempts their names, before any is ready: they meet by them. */
export const rendezvousService = (version: ModelVersion): Manifest => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: ownedBy(version),
  spec: {
    clusterIP: "None",
    publishNotReadyAddresses: true,
    selector: gangLabels(version),
    ports: [{ name: "rendezvous", port: RENDEZVOUS_PORT }],
  },
});

/**
 * Lets nobody but one another reach the pods that train a version: what they exchange is neither authenticated nor
 * encrypted (https://docs.pytorch.org/docs/stable/distributed.html). The ports are of their choice.
 */
export const gangPolicy = (version: ModelVersion): Manifest => ({
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: ownedBy(version),
  spec: {
    podSelector: { matchLabels: gangLabels(version) },
    policyTypes: ["Ingress"],
    ingress: [{ from: [{ podSelector: { matchLabels: gangLabels(version) } }] }],
  },
});

const gangLabels = ({ metadata }: ModelVersion) =>
  ownLabels({ [label.version]: metadata.name, [label.task]: "train" });

/** What a version has beside its Jobs carries its name. */
const ownedBy = ({ metadata, spec }: ModelVersion) => ({
  name: metadata.name,
  namespace: metadata.namespace,
  labels: ownLabels({ [label.model]: spec.model.name, [label.version]: metadata.name }),
  ownerReferences: [ownerReference("ModelVersion", metadata)],
});

/**
 * Waits in no queue, as an import does not: it is short, takes no GPU, completes what had its quota, and is not replaced
 * where the queue is wrong. While it is there no other version of the model begins.
 */
export const inspectJob = (inputs: AttemptInputs, settings: Settings): Manifest => {
  const { version } = inputs;
  const run: InspectRun = {
    task: "inspect",
    ...runIdentity(inputs, settings),
    inputsHash: version.spec.inputsHash,
    ...runGated(inputs),
    output: podPath.output,
  };
  return trainerJob(
    {
      ...common(inputs, "inspect", inspectJobName(version.metadata.name, inputs.attempt)),
      queueLabels: {},
      run,
      store: [outputMount(version, true)],
      resources: { cpu: "1", memory: "1Gi" },
      activeDeadlineSeconds: 3600,
    },
    settings,
  );
};

const runGated = ({ gated = [] }: AttemptInputs): Pick<TrainRun, "gated"> =>
  gated.length === 0 ? {} : { gated: [...gated] };

/** Where the weights begin, as the pod finds it. */
const runBase = ({ version, placement }: AttemptInputs, settings: Settings): RunBase => {
  const { id, digest, url, model } = version.spec.base;
  if (digest === undefined) return { id: "none" };
  if (model !== undefined) return { id: "model", digest, path: podPath.base };
  return url === undefined
    ? RunBase.parse({ id, digest })
    : {
        id: "http",
        digest,
        url: placement.baseUrl ?? url,
        path: podPath.bases,
        denyPrivateSources: settings.denyPrivateSources,
      };
};

const baseMounts = ({ metadata, spec: { base } }: ModelVersion): StoreMount[] => {
  if (base.model !== undefined) {
    return [{ subPath: base.model.path, mountPath: podPath.base, readOnly: true }];
  }
  return base.url === undefined
    ? []
    : [{ subPath: basesPath(metadata.namespace), mountPath: podPath.bases, readOnly: false }];
};

/** A head alone is trained on embeddings that are computed once for a dataset. */
export const isOnDerived = ({ spec }: ModelVersion): boolean =>
  newestTemplate(spec.template).type === "context-based-classifier";

const derivedMounts = (version: ModelVersion): StoreMount[] =>
  isOnDerived(version)
    ? [
        {
          subPath: derivedPath(version.metadata.namespace, version.spec.dataset.digest),
          mountPath: podPath.derived,
          readOnly: false,
        },
      ]
    : [];

const runIdentity = ({ version, attempt }: AttemptInputs, settings: Settings) => ({
  object: {
    namespace: version.metadata.namespace,
    name: version.metadata.name,
    uid: version.metadata.uid,
  },
  attempt,
  ...(settings.progressUrl === undefined ? {} : { progressUrl: settings.progressUrl }),
});

const common = (
  { version, attempt, placement, oneNode }: AttemptInputs,
  task: "train" | "prepare" | "inspect",
  name: string,
): Pick<
  TrainerJob,
  "namespace" | "name" | "owner" | "labels" | "queueLabels" | "scheduling" | "oneNode"
> => {
  const { queueLabels, pod } = splitScheduling(placement.scheduling);
  return {
    namespace: version.metadata.namespace,
    name,
    owner: ownerReference("ModelVersion", version.metadata),
    labels: {
      [label.task]: task,
      [label.model]: version.spec.model.name,
      [label.version]: version.metadata.name,
      [label.attempt]: String(attempt),
    },
    queueLabels,
    scheduling: pod,
    oneNode,
  };
};

const outputMount = (version: ModelVersion, readOnly: boolean) => ({
  subPath: versionPath(version.metadata.namespace, version.spec.model, version.spec.number),
  mountPath: podPath.output,
  readOnly,
});
