// What precedes an attempt that asks for GPUs: one Job on CPU that fetches the base, checks base and data, and computes
// embeddings, so that what is wrong is found, and what takes long is done, while no GPU is held. It is the attempt's first
// Job: it is stopped, fails and is tried again as the attempt is. What it leaves is in the store, not in a status.

import type { Attempt, ModelVersion } from "../../api/modelversion.ts";
import { ended } from "./attemptoutcome.ts";
import type { Outcome } from "./conditions.ts";
import type { Job } from "./kubernetes.ts";
import { obstacle } from "./obstacle.ts";
import { jobPlacement, type Placement, placementOfJob } from "./placement.ts";
import type { Effect } from "./plan.ts";
import {
  type AttemptInputs,
  gangPolicy,
  isOnDerived,
  prepareJobName,
  rendezvousService,
  trainingJob,
  trainingJobName,
} from "./trainingjob.ts";
import {
  replaced,
  type Step,
  type VersionStanding,
  type VersionWorld,
  working,
} from "./versionworld.ts";
import type { Wish } from "./wish.ts";

/** True while the Job of an attempt is the one that prepares it, and of an attempt that came no further. */
export const isPreparing = ({ metadata }: ModelVersion, { job, number }: Attempt): boolean =>
  job === prepareJobName(metadata.name, number);

/** Whether the attempt after `last` is to be prepared. What was stopped in its training goes on at once. */
export const needsPreparation = (
  version: ModelVersion,
  { gpus }: Placement,
  last: Attempt | undefined,
): boolean => {
  const wasPrepared = last?.state === "Stopped" && last.gpus > 0 && !isPreparing(version, last);
  return gpus > 0 && !wasPrepared;
};

export const preparing = (version: ModelVersion, { number }: Attempt): Outcome => {
  const what = isOnDerived(version)
    ? "the embeddings are being computed"
    : version.spec.base.url === undefined
      ? "base and data are being checked"
      : "the base is being fetched and checked";
  return working("Preparing", `attempt ${number}: ${what} on CPU before GPUs are asked for`);
};

/** An attempt as it begins: with what its Job was made with, or will be. */
export const begunAttempt = (
  number: number,
  job: string,
  existing: Job | undefined,
  asked: { placement: Placement; threads: number },
): Attempt => {
  const made =
    (existing === undefined ? undefined : placementOfJob(existing)) ??
    jobPlacement(asked.placement, asked.threads);
  return {
    number,
    job,
    state: "Pending",
    counted: false,
    cpu: made.cpu,
    memory: made.memory,
    gpus: made.gpus,
    threads: made.threads,
    placement: made.digest,
  };
};

/** The training of an attempt, after the Service by which its pods meet and the NetworkPolicy that guards them. */
export const trainingEffects = (
  { version, settings }: VersionWorld,
  inputs: AttemptInputs,
): Effect[] => [
  ...(inputs.placement.nodes === undefined
    ? []
    : [rendezvousService(version), gangPolicy(version)].map((object) => ({
        verb: "create" as const,
        object,
      }))),
  { verb: "create", object: trainingJob(inputs, settings) },
];

/**
 * All is there: the training begins, with the resources that are asked for now. Until it can, the time at which the step
 * ended is kept: its Job goes after a day, and is not to be missed.
 */
export const prepared = (
  world: VersionWorld,
  wish: Wish,
  standing: VersionStanding,
  attempt: Attempt & { finishedAt: string },
  inputs: AttemptInputs,
): Step => {
  const { version } = world;
  const before = { ...standing, attempts: replaced(standing.attempts, attempt) };
  if (wish.is === "stop") {
    return ended(world, wish, before, attempt, { is: "stopped", reason: wish.reason });
  }
  if (wish.is === "leave") {
    const outcome = preparing(version, attempt);
    return { standing: { ...before, outcome }, effects: [] };
  }
  const blocked = obstacle(world, wish, before);
  if (blocked !== undefined) return blocked;
  const name = trainingJobName(version.metadata.name, attempt.number);
  const begun = begunAttempt(attempt.number, name, undefined, inputs);
  return {
    standing: {
      ...before,
      attempts: replaced(before.attempts, begun),
      outcome: working("Starting", starting(begun)),
    },
    effects: trainingEffects(world, inputs),
  };
};

export const starting = ({ number }: Pick<Attempt, "number">): string =>
  `attempt ${number}: the pod is starting`;
