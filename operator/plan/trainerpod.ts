// The Job and pod that every task of the trainer image runs in: one container, non-root, read-only root, no token but
// the one bound to its object. Which directories of the store it sees is all that differs.

import { annotation, label, podPath, progressAudience, STORE_CLAIM } from "../../api/group.ts";
import type { OwnerReference } from "../../api/objectmeta.ts";
import { exitCode } from "../../api/reasons.ts";
import type { RunFile } from "../../api/run.ts";
import type { Manifest, Settings } from "./plan.ts";
import { ownLabels } from "./plan.ts";
import { quantityValue } from "./quantity.ts";

export const CONTAINER = "trainer";
const USER = 65532;
const GIB = 2 ** 30;
/** A checkpoint is written between SIGTERM and SIGKILL. */
const GRACE_SECONDS = 60;
/** The operator reads the record first; after this long the Job and its pod go away by themselves. */
const KEPT_SECONDS = 24 * 3600;
const TOKEN_SECONDS = 3600;

/** A directory of the store as the pod sees it. */
export interface StoreMount {
  subPath: string;
  mountPath: string;
  readOnly: boolean;
}

export interface TrainerJob {
  namespace: string;
  name: string;
  owner: OwnerReference;
  labels: Record<string, string>;
  /** Of the Job alone: what its queue goes by. */
  queueLabels?: Record<string, string>;
  annotations?: Record<string, string>;
  run: RunFile;
  store: StoreMount[];
  /** The user's claim, mounted read-only at `podPath.source`. */
  sourceClaim?: string;
  /** Quantities; requests and limits are the same. */
  resources: Record<string, string>;
  /** nodeSelector, tolerations, priorityClassName, runtimeClassName. */
  scheduling?: Record<string, unknown>;
  activeDeadlineSeconds?: number;
  /** Several pods that train together, and the headless Service that names them. */
  gang?: { pods: number; service: string };
  /** ReadWriteOnce: all pods that mount the store go to one node. */
  oneNode: boolean;
}

export const trainerJob = (job: TrainerJob, settings: Settings): Manifest => ({
  apiVersion: "batch/v1",
  kind: "Job",
  metadata: {
    name: job.name,
    namespace: job.namespace,
    labels: { ...ownLabels(job.labels), ...job.queueLabels },
    ...(job.annotations === undefined ? {} : { annotations: job.annotations }),
    ownerReferences: [job.owner],
  },
  spec: {
    // The first failed pod ends the Job: an attempt never begins again within itself.
    backoffLimit: 0,
    completions: job.gang?.pods ?? 1,
    parallelism: job.gang?.pods ?? 1,
    ...(job.gang === undefined ? {} : { completionMode: "Indexed" }),
    podReplacementPolicy: "Failed",
    ttlSecondsAfterFinished: KEPT_SECONDS,
    ...(job.activeDeadlineSeconds === undefined
      ? {}
      : { activeDeadlineSeconds: job.activeDeadlineSeconds }),
    podFailurePolicy: {
      rules: [
        // Of several pods none can go on without the others: all begin again, as the next attempt.
        {
          action: job.gang === undefined ? "Ignore" : "FailJob",
          onPodConditions: [{ type: "DisruptionTarget", status: "True" }],
        },
        {
          action: "FailJob",
          onExitCodes: {
            containerName: CONTAINER,
            operator: "In",
            values: [exitCode.inputAtFault, exitCode.diverged],
          },
        },
      ],
    },
    template: podTemplate(job, settings),
  },
});

const podTemplate = (job: TrainerJob, settings: Settings) => ({
  metadata: {
    labels: ownLabels(job.labels),
    annotations: {
      [annotation.run]: JSON.stringify(job.run),
      ...(settings.progressCa === undefined ? {} : { [annotation.ca]: settings.progressCa }),
    },
  },
  spec: {
    restartPolicy: "Never",
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    ...(job.gang === undefined ? {} : { subdomain: job.gang.service }),
    terminationGracePeriodSeconds: GRACE_SECONDS,
    securityContext: {
      runAsNonRoot: true,
      runAsUser: USER,
      runAsGroup: USER,
      fsGroup: USER,
      fsGroupChangePolicy: "OnRootMismatch",
      seccompProfile: { type: "RuntimeDefault" },
    },
    ...job.scheduling,
    ...(job.oneNode ? { affinity: oneNodeAffinity } : {}),
    containers: [container(job, settings)],
    volumes: volumes(job, settings),
  },
});

/** Our pods attract one another; the first one matches itself, which the scheduler allows. */
const oneNodeAffinity = {
  podAffinity: {
    requiredDuringSchedulingIgnoredDuringExecution: [
      {
        labelSelector: { matchExpressions: [{ key: label.task, operator: "Exists" }] },
        topologyKey: "kubernetes.io/hostname",
      },
    ],
  },
};

const container = (job: TrainerJob, settings: Settings) => ({
  name: CONTAINER,
  image: settings.trainerImage,
  imagePullPolicy: "IfNotPresent",
  terminationMessagePath: "/dev/termination-log",
  // A crash before the record can be written: the end of its log says more than an exit code.
  terminationMessagePolicy: "FallbackToLogsOnError",
  env: [
    // Threads that spin at barriers lose more than they gain wherever cores are shared.
    { name: "OMP_WAIT_POLICY", value: "PASSIVE" },
    { name: "HOME", value: "/tmp" },
  ],
  resources: { requests: requested(job.resources), limits: job.resources },
  securityContext: {
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ["ALL"] },
  },
  volumeMounts: [
    { name: "run", mountPath: podPath.runDirectory, readOnly: true },
    { name: "token", mountPath: podPath.tokenDirectory, readOnly: true },
    { name: "tmp", mountPath: "/tmp" },
    { name: "shm", mountPath: "/dev/shm" },
    ...job.store.map(({ subPath, mountPath, readOnly }) => ({
      name: "store",
      subPath,
      mountPath,
      readOnly,
    })),
    ...(job.sourceClaim === undefined
      ? []
      : [{ name: "source", mountPath: podPath.source, readOnly: true }]),
  ],
});

const volumes = (job: TrainerJob, settings: Settings) => [
  {
    name: "run",
    downwardAPI: {
      items: [
        file("run.json", annotation.run),
        ...(settings.progressCa === undefined ? [] : [file("ca.crt", annotation.ca)]),
      ],
    },
  },
  {
    name: "token",
    projected: {
      sources: [
        {
          serviceAccountToken: {
            audience: progressAudience(job.run.object.uid),
            expirationSeconds: TOKEN_SECONDS,
            path: "token",
          },
        },
      ],
    },
  },
  { name: "tmp", emptyDir: {} },
  { name: "shm", emptyDir: { medium: "Memory", sizeLimit: sharedMemory(job.resources.memory) } },
  { name: "store", persistentVolumeClaim: { claimName: STORE_CLAIM } },
  ...(job.sourceClaim === undefined
    ? []
    : [
        {
          name: "source",
          persistentVolumeClaim: { claimName: job.sourceClaim, readOnly: true },
        },
      ]),
];

/**
 * Without a GPU a pod asks for half of the CPU that it may use, so that a training of two CPUs fits on a node of two.
 * With one it asks for all: data loaders that starve leave the GPU idle.
 */
const requested = (limits: Record<string, string>): Record<string, string> => {
  const { cpu = "1", ...others } = limits;
  const hasGpu = Object.keys(others).some((name) => name !== "memory");
  if (hasGpu) return limits;
  return { ...others, cpu: `${Math.max(1, Math.round((quantityValue(cpu) ?? 1) * 500))}m` };
};

const file = (path: string, key: string) => ({
  path,
  fieldRef: { fieldPath: `metadata.annotations['${key}']` },
});

/** min(2 GiB, a quarter of the memory limit): it counts against that limit. */
export const sharedMemoryBytes = (memory: string | undefined): number =>
  Math.floor(Math.min(2 * GIB, (quantityValue(memory ?? "") ?? 4 * GIB) / 4));

const sharedMemory = (memory: string | undefined): string => String(sharedMemoryBytes(memory));
