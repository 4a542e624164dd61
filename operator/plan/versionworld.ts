// What the planner of a version is given, and how it says where the version stands.

import type { DeepModel } from "../../api/deepmodel.ts";
import type { Attempt, ModelVersion } from "../../api/modelversion.ts";
import type { TrainingRecord } from "../../api/record.ts";
import type { Outcome } from "./conditions.ts";
import type { Claim, Event, Job, Pod } from "./kubernetes.ts";
import type { Workload } from "./kueue.ts";
import type { Mail } from "./mail.ts";
import { type Effect, isOwnedBy, type Refusal, type Settings } from "./plan.ts";
import { isFinished, isLeft } from "./podstate.ts";

export interface VersionWorld {
  version: ModelVersion;
  /** The DeepModel that owns it; undefined where it is gone. */
  model: DeepModel | undefined;
  /** Jobs and pods that carry this version's name; those of another owner are ignored. */
  jobs: readonly Job[];
  pods: readonly Pod[];
  /** Jobs of the other versions of the same DeepModel: at most one of them trains. */
  siblingJobs: readonly Job[];
  /** Events of the newest Job and its pods; read only when `wantsEvents` says so. */
  events: readonly Event[];
  /** What Kueue says of the Job that it has suspended; read only when `waitsInQueue` says so. */
  workload?: Workload | undefined;
  claim: Claim | undefined;
  mails: readonly Mail[];
  refusals: readonly Refusal[];
  settings: Settings;
  now: string;
}

/** How the version stands after this pass: what the status is made of. */
export interface VersionStanding {
  outcome: Outcome;
  attempts: Attempt[];
  attempt: number;
  countedAttempts: number;
  retryAt?: string;
  threads?: number;
  /** Only an ended attempt's valid record makes it. */
  completion?: Extract<TrainingRecord, { outcome: "published" }>;
}

export interface Step {
  standing: VersionStanding;
  effects: Effect[];
  nextMs?: number;
}

export const working = (reason: Outcome["reason"], message: string): Outcome => ({
  is: "working",
  reason,
  message,
});

export const replaced = (attempts: readonly Attempt[], attempt: Attempt): Attempt[] =>
  attempts.map((each) => (each.number === attempt.number ? attempt : each));

export const ownJob = (world: VersionWorld, name: string): Job | undefined =>
  world.jobs.find((job) => job.metadata.name === name && isOwnedBy(job, world.version.metadata));

/** Jobs and pods of earlier attempts that may still hold the version's directory. */
export const remainsOf = (world: VersionWorld): { is: boolean; effects: Effect[] } => {
  const { version } = world;
  const own = world.jobs.filter((job) => isOwnedBy(job, version.metadata));
  const jobs = own.filter((job) => !isFinished(job));
  const uids = new Set(own.map((job) => job.metadata.uid));
  const pods = world.pods.filter(
    (pod) =>
      isLeft(pod) &&
      pod.metadata.namespace === version.metadata.namespace &&
      // A pod whose Job is gone is told by its label; it must not be another owner's.
      pod.metadata.ownerReferences?.some(
        ({ controller, uid, name }) =>
          controller === true && (uids.has(uid) || name.startsWith(`${version.metadata.name}-a`)),
      ),
  );
  return { is: jobs.length > 0 || pods.length > 0, effects: jobs.flatMap(deletion) };
};

/** The Job goes when its pods have gone. */
export const deletion = ({ metadata }: Job): Effect[] =>
  metadata.deletionTimestamp !== undefined
    ? []
    : [
        {
          verb: "delete",
          kind: "Job",
          namespace: metadata.namespace,
          name: metadata.name,
          uid: metadata.uid,
          foreground: true,
        },
      ];
