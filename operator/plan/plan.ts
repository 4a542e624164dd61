// What a planner answers: effects in their order, the whole status that should be, events, and when to look again.

import { API_VERSION, label, MANAGED_BY } from "../../api/group.ts";
import type { ObjectMeta, OwnerReference } from "../../api/objectmeta.ts";
import type { Reason } from "../../api/reasons.ts";
import type { Outcome } from "./conditions.ts";

/** An object as it is POSTed. */
export interface Manifest {
  apiVersion: string;
  kind: "ModelVersion" | "Job" | "PersistentVolumeClaim" | "Service" | "NetworkPolicy";
  metadata: {
    name: string;
    namespace: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    ownerReferences?: OwnerReference[];
  };
  [field: string]: unknown;
}

export type Effect =
  /** Create once, never change. An object of that name that we do not own comes back as a `Refusal`. */
  | { verb: "create"; object: Manifest }
  /** Delete exactly this object; its dependants go first where `foreground` is set. */
  | {
      verb: "delete";
      kind: "ModelVersion" | "Job";
      namespace: string;
      name: string;
      uid: string;
      foreground: boolean;
    };

/** A create that the API server would not do, and will not do until something else changes. */
export interface Refusal {
  kind: Manifest["kind"];
  name: string;
  /** `Creating`: the name is about to become free. */
  reason: Extract<
    Reason,
    "NameConflict" | "QuotaExceeded" | "AdmissionDenied" | "AccessDenied" | "Creating"
  >;
  message: string;
}

/** What a refused create makes of the object that wanted it. */
export const refusedOutcome = ({ kind, message, ...refusal }: Refusal): Outcome => {
  const reason = kind === "PersistentVolumeClaim" ? "StoreNotReady" : refusal.reason;
  return { is: reason === "NameConflict" ? "failed" : "working", reason, message };
};

/** When to try again what was refused, in milliseconds. */
export const tryAgainMs = ({ reason }: Refusal): number => (reason === "Creating" ? 5_000 : 30_000);

export interface EventNote {
  type: "Normal" | "Warning";
  reason:
    | Reason
    | "VersionCreated"
    | "AttemptStarted"
    | "VersionRemoved"
    | "ImportStarted"
    | "StatusRefused";
  message: string;
}

export interface Plan<Status> {
  effects: Effect[];
  /** The whole status that should be; undefined: leave it as it is. */
  status?: Status;
  /** For transitions only; recorded after the status is written. */
  events: EventNote[];
  /** When to look again although nothing changed, in milliseconds from now. */
  nextMs?: number;
}

/** What the planners need to know of the installation. */
export interface Settings {
  trainerImage: string;
  /** `https://host:port` of the progress endpoint as pods reach it. */
  progressUrl?: string;
  /** PEM of the CA that signed its certificate. */
  progressCa?: string;
  store: StoreSettings;
  denyPrivateSources: boolean;
  /** Memory of an import, a quantity such as `2Gi`; it decides how many items a dataset may have. */
  importMemory: string;
  importLimits: { archiveBytes: number; unpackedBytes: number };
}

export interface StoreSettings {
  /** Absent: the cluster's default class. */
  storageClassName?: string;
  /** A quantity, such as `20Gi`. */
  size: string;
  accessMode: "ReadWriteOnce" | "ReadWriteMany";
}

/**
 * True where the object's controller is exactly this owner: the same UID, not the same name, and in one namespace with
 * it. Anybody can write any UID into an object of a namespace of his own.
 */
export const isOwnedBy = (
  { metadata }: { metadata: Pick<ObjectMeta, "namespace" | "ownerReferences"> },
  { namespace, uid }: Pick<ObjectMeta, "namespace" | "uid">,
): boolean =>
  metadata.namespace === namespace &&
  (metadata.ownerReferences?.some((owner) => owner.controller === true && owner.uid === uid) ??
    false);

/**
 * A controller's, and one that holds the owner back: `kubectl delete --cascade=foreground`, Argo CD's way, waits until
 * what we made is gone.
 */
export const ownerReference = (
  kind: "DeepModel" | "ModelVersion" | "Dataset",
  owner: { name: string; uid: string },
): OwnerReference => ({
  apiVersion: API_VERSION,
  kind,
  name: owner.name,
  uid: owner.uid,
  controller: true,
  blockOwnerDeletion: true,
});

export const ownLabels = (labels: Record<string, string>): Record<string, string> => ({
  [label.managedBy]: MANAGED_BY,
  ...labels,
});

/**
 * Milliseconds from `now` until `time`; at least 0. Nobody waits for longer than `longestMs`: what lies further ahead
 * was written before the clock was set back, and is due.
 */
export const msUntil = (time: string, now: string, longestMs: number): number => {
  const ms = Date.parse(time) - Date.parse(now);
  return ms > longestMs ? 0 : Math.max(0, ms);
};

export const later = (now: string, ms: number): string =>
  new Date(Date.parse(now) + ms).toISOString();

/** The sooner of two waits, where there are any. */
export const sooner = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined ? b : b === undefined ? a : Math.min(a, b);
