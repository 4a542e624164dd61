// Names that everything outside the operator can see: the API group, labels, annotations, mount paths.

export const GROUP = "deeptrain.dev";
export const VERSION = "v1alpha1";
export const API_VERSION = `${GROUP}/${VERSION}`;

export const label = {
  managedBy: "app.kubernetes.io/managed-by",
  model: `${GROUP}/model`,
  version: `${GROUP}/version`,
  dataset: `${GROUP}/dataset`,
  attempt: `${GROUP}/attempt`,
  /** `train`, `prepare`, `import` or `inspect`: what the pod does. */
  task: `${GROUP}/task`,
} as const;

/** The value of `label.managedBy` on every object that the operator makes. */
export const MANAGED_BY = "deeptrain";

export const annotation = {
  /** On a pod template: the run file (JSON, `api/run.ts`). */
  run: `${GROUP}/run`,
  /** On a pod template: the PEM of the CA that signed the progress endpoint's certificate. */
  ca: `${GROUP}/ca`,
  /** On the Jobs of an attempt: what it asked of the cluster (JSON, `operator/plan/placement.ts`). */
  placement: `${GROUP}/placement`,
  /** On a DeepModel or a Dataset, by the user: a new value asks for another attempt at what failed. */
  retry: `${GROUP}/retry`,
  /** On a DeepModel, by the user: a new value accepts a change that `retrainOn` does not list. */
  retrain: `${GROUP}/retrain`,
} as const;

/** Where things lie inside a trainer pod. The run file repeats those that the trainer reads. */
export const podPath = {
  runDirectory: "/etc/deeptrain",
  runFile: "/etc/deeptrain/run.json",
  caFile: "/etc/deeptrain/ca.crt",
  tokenDirectory: "/var/run/secrets/deeptrain",
  tokenFile: "/var/run/secrets/deeptrain/token",
  /** The datasets of the namespace, read-write: importer only. */
  datasets: "/datasets",
  /** One dataset, read-only: trainers. */
  data: "/data",
  /** One version's directory, read-write: its trainer. */
  output: "/output",
  /** Weights that were fetched for this namespace, read-write: trainers whose base is an address. */
  bases: "/bases",
  /** The artifact of the version that is the base, read-only: trainers whose base is a model. */
  base: "/base",
  /** What is derived of one dataset and shared by the models that use it, read-write. */
  derived: "/derived",
  /** The user's claim, read-only: importer only. */
  source: "/source",
} as const;

/** Name of the claim that holds a namespace's datasets and models (used if there, else created). */
export const STORE_CLAIM = "deeptrain-store";

/** Audience of the token with which a run reports its progress: bound to one object's UID. */
export const progressAudience = (uid: string): string => `${GROUP}/progress/${uid}`;

/** `<namespace>/datasets/<digest>` inside the store; `digest` is `sha256:<hex>`. */
export const datasetsPath = (namespace: string): string => `${namespace}/datasets`;
export const datasetPath = (namespace: string, digest: string): string =>
  `${datasetsPath(namespace)}/${digest.replace(/^sha256:/, "")}`;

/** `<namespace>/bases` inside the store: weights by the digest of their file. */
export const basesPath = (namespace: string): string => `${namespace}/bases`;

/** `<namespace>/derived/<dataset digest>` inside the store. */
export const derivedPath = (namespace: string, digest: string): string =>
  `${namespace}/derived/${digest.replace(/^sha256:/, "")}`;

/** `<namespace>/models/<name>-<uid8>/v<N>` inside the store. */
export const versionPath = (
  namespace: string,
  model: { name: string; uid: string },
  number: number,
): string => `${namespace}/models/${model.name}-${model.uid.slice(0, 8)}/v${number}`;
