// An attempt that is under way: it is watched, stopped, replaced, or its end is judged.

import type { DeepModel } from "../../api/deepmodel.ts";
import type { Attempt, ModelVersion } from "../../api/modelversion.ts";
import { templateRevision } from "../../api/templates.ts";
import { type AttemptIdentity, attemptEnd, inspectionEnd, preparationLost } from "./attemptend.ts";
import { ended, hasCheckpoint } from "./attemptoutcome.ts";
import type { Outcome } from "./conditions.ts";
import { gatedConcepts } from "./gates.ts";
import type { Job, Pod } from "./kubernetes.ts";
import { queueDueMs } from "./kueue.ts";
import { AGAIN_MS, refused } from "./obstacle.ts";
import { placementDigest, placementOf } from "./placement.ts";
import { type Effect, isOwnedBy } from "./plan.ts";
import {
  eventsDueMs,
  type PodFacts,
  type PodState,
  podState,
  STUCK_AGAIN_MS,
  stuckDueMs,
  stuckPod,
} from "./podstate.ts";
import { begunAttempt, isPreparing, prepared, preparing, starting } from "./preparation.ts";
import { isOneNode } from "./store.ts";
import { type AttemptInputs, inspectJob, inspectJobName, trainingJobName } from "./trainingjob.ts";
import {
  deletion,
  ownJob,
  remainsOf,
  replaced,
  type Step,
  type VersionStanding,
  type VersionWorld,
  working,
} from "./versionworld.ts";
import type { Wish } from "./wish.ts";

/** An attempt is under way: stop it, replace it, watch it, or judge its end. */
export const follow = (
  world: VersionWorld,
  wish: Wish,
  model: DeepModel,
  before: VersionStanding,
  attempt: Attempt,
): Step => {
  const { version, now } = world;
  const training = afterPreparation(world, wish, before, attempt);
  if (training !== undefined) return follow(world, wish, model, ...training);
  const isFirst = isPreparing(version, attempt);
  const job = ownJob(world, attempt.job);
  if (job === undefined) return withoutJob(world, wish, model, before, attempt);
  const pods = world.pods.filter((pod) => isOwnedBy(pod, job.metadata));
  const state = stateOf(world, attempt, job, pods);
  const seen: Attempt = { ...attempt, jobUid: job.metadata.uid };
  if (state.is === "ended") {
    const finishedAt = state.end.finishedAt ?? now;
    if (isFirst && state.end.succeeded) {
      const inputs = attemptInputs(world, model, attempt.number, attempt.threads);
      return prepared(world, wish, before, { ...seen, finishedAt }, inputs);
    }
    const isStopping = attempt.reason === "Stopping" || isGoing(job);
    const end = attemptEnd(state.end, identityOf(version, attempt), isStopping);
    const facts = { ...seen, ...podFields(state.end.pod), finishedAt };
    return end.is === "recordless"
      ? inspect(world, wish, model, before, facts, "complete")
      : ended(world, wish, before, facts, end);
  }
  const stuck = stuckPod(pods, now, "training");
  if (stuck !== undefined) return nodeLost(before, seen, stuck);
  const dueMs = stuckDueMs(pods);
  const why = stopReason(world, wish, seen, state.is, job);
  if (seen.reason === "Stopping") return stopping(before, seen, deletion(job), why, dueMs);
  // It is written that we stop it before we do: of a Job that is gone we must know who took it away.
  if (why !== undefined) return stopping(before, { ...seen, reason: "Stopping" }, [], why, 1);
  switch (state.is) {
    case "stopping":
      return stopping(before, seen, [], "its Job is being deleted", dueMs);
    case "waiting":
      return {
        standing: {
          ...before,
          attempts: replaced(before.attempts, waitingAttempt(seen, state)),
          outcome: waitingOutcome(version, seen, state),
        },
        effects: [],
        nextMs: state.reason === "Queued" ? queueDueMs(job, now) : eventsDueMs(job, pods, now),
      };
    case "running":
      return {
        standing: { ...before, ...running(version, wish, before, seen, state.pod) },
        effects: [],
        ...(dueMs === undefined ? {} : { nextMs: dueMs }),
      };
  }
};

const stateOf = (
  { version, events, workload }: VersionWorld,
  attempt: Attempt,
  job: Job,
  pods: readonly Pod[],
): PodState => {
  const goesOn = !isPreparing(version, attempt) && hasCheckpoint(version);
  return podState({ job, pods, events, workload, hasCheckpoint: goesOn });
};

/** A pod of it runs. The attempt itself does once its training does. */
const running = (
  version: ModelVersion,
  wish: Wish,
  before: VersionStanding,
  { reason: _, message: __, ...facts }: Attempt,
  pod: PodFacts,
): Pick<VersionStanding, "attempts" | "outcome"> => {
  if (isPreparing(version, facts)) {
    return {
      attempts: replaced(before.attempts, facts),
      outcome: preparing(version, facts),
    };
  }
  const attempt: Attempt = { ...facts, ...podFields(pod), state: "Running" };
  return {
    attempts: replaced(before.attempts, attempt),
    outcome: working("Training", runningMessage(attempt, wish)),
  };
};

/** Its training, where that was created already: the operator was killed before it could write so. */
const afterPreparation = (
  world: VersionWorld,
  { placement }: Wish,
  before: VersionStanding,
  attempt: Attempt,
): [VersionStanding, Attempt] | undefined => {
  const { number, threads } = attempt;
  const name = trainingJobName(world.version.metadata.name, number);
  const training = isPreparing(world.version, attempt) ? ownJob(world, name) : undefined;
  if (training === undefined) return undefined;
  const begun = begunAttempt(number, name, training, { placement, threads });
  return [{ ...before, attempts: replaced(before.attempts, begun) }, begun];
};

const isGoing = ({ metadata }: Job): boolean => metadata.deletionTimestamp !== undefined;

const identityOf = (
  { metadata, spec }: ModelVersion,
  { number, memory }: Attempt,
): AttemptIdentity => ({
  uid: metadata.uid,
  attempt: number,
  inputsHash: spec.inputsHash,
  memory,
});

/** Another pod beside it might write into the same directory: somebody must say that this one is dead. */
const nodeLost = (before: VersionStanding, attempt: Attempt, stuck: string): Step => ({
  standing: {
    ...before,
    attempts: replaced(before.attempts, attempt),
    outcome: working("PodLost", `attempt ${attempt.number}: ${stuck}`),
  },
  effects: [],
  nextMs: STUCK_AGAIN_MS,
});

/** No pod of it runs. One that ran was taken from it: it has not started, as far as its cure is concerned. */
const waitingAttempt = (
  seen: Attempt,
  { reason, message }: { reason: Outcome["reason"]; message: string },
): Attempt => {
  const { reason: _, message: __, startedAt: ___, node: ____, ...facts } = seen;
  const attempt: Attempt = { ...facts, state: "Pending" };
  return reason === "Starting" ? attempt : { ...attempt, reason, message: message.slice(0, 512) };
};

const waitingOutcome = (
  version: ModelVersion,
  attempt: Attempt,
  { reason, message }: { reason: Outcome["reason"]; message: string },
): Outcome => {
  const isFirst = isPreparing(version, attempt);
  if (reason === "Starting") {
    return isFirst ? preparing(version, attempt) : working(reason, starting(attempt));
  }
  return working(reason, `attempt ${attempt.number}${isFirst ? ", on CPU" : ""}: ${message}`);
};

const podFields = (pod: PodFacts | undefined): Partial<Attempt> => ({
  ...(pod?.node === undefined ? {} : { node: pod.node }),
  ...(pod?.image === undefined ? {} : { image: pod.image }),
  ...(pod?.startedAt === undefined ? {} : { startedAt: pod.startedAt }),
});

const runningMessage = (attempt: Attempt, { placement }: Wish): string =>
  attempt.placement === undefined || attempt.placement === placementDigest(placement)
    ? `attempt ${attempt.number} is running`
    : `attempt ${attempt.number} is running with the resources, scheduling and deadline that it began with; changes apply to the next attempt`;

/** Why an attempt that has not ended must be stopped; undefined: it must not. */
const stopReason = (
  { settings }: VersionWorld,
  wish: Wish,
  attempt: Attempt,
  state: "waiting" | "running" | "stopping",
  job: Job,
): string | undefined => {
  if (wish.is === "stop") {
    return wish.reason === "Suspended"
      ? "spec.suspend of its DeepModel is true"
      : "its DeepModel wants another version";
  }
  if (state !== "waiting" || attempt.startedAt !== undefined) return undefined;
  if (attempt.placement !== placementDigest(wish.placement)) {
    return "resources, scheduling, deadline or the address of the base changed before its pod started";
  }
  const image = job.spec.template.spec.containers[0]?.image;
  return attempt.reason === "ImagePullFailed" && image !== settings.trainerImage
    ? "the trainer image of this installation changed"
    : undefined;
};

const stopping = (
  before: VersionStanding,
  attempt: Attempt,
  effects: Effect[],
  why: string | undefined,
  nextMs?: number,
): Step => ({
  standing: {
    ...before,
    attempts: replaced(before.attempts, attempt),
    outcome: working(
      "Stopping",
      `attempt ${attempt.number} is being stopped${why === undefined ? "" : `: ${why}`}`,
    ),
  },
  effects,
  ...(nextMs === undefined ? {} : { nextMs }),
});

/** The Job is gone: we deleted it, or somebody did, or it was kept long enough while nobody looked. */
const withoutJob = (
  world: VersionWorld,
  wish: Wish,
  model: DeepModel,
  before: VersionStanding,
  attempt: Attempt,
): Step => {
  const remains = remainsOf(world);
  if (
    remains.is &&
    ownJob(world, inspectJobName(world.version.metadata.name, attempt.number)) === undefined
  ) {
    const why = attempt.reason === "Stopping" ? undefined : "its Job is gone, and its pod is not";
    return stopping(before, attempt, remains.effects, why, AGAIN_MS);
  }
  if (attempt.reason === "Stopping") {
    const end = { is: "stopped" as const, reason: wish.is === "stop" ? wish.reason : undefined };
    return ended(world, wish, before, { ...attempt, finishedAt: world.now }, end);
  }
  if (isPreparing(world.version, attempt)) {
    const { finishedAt } = attempt;
    if (finishedAt !== undefined) {
      const inputs = attemptInputs(world, model, attempt.number, attempt.threads);
      return prepared(world, wish, before, { ...attempt, finishedAt }, inputs);
    }
    return ended(world, wish, before, { ...attempt, finishedAt: world.now }, preparationLost);
  }
  return inspect(world, wish, model, before, attempt, "lost");
};

/** The files are looked at, once, where a record was lost. */
const inspect = (
  world: VersionWorld,
  wish: Wish,
  model: DeepModel,
  before: VersionStanding,
  attempt: Attempt,
  why: "lost" | "complete",
): Step => {
  const { version, settings, now } = world;
  const job = ownJob(world, inspectJobName(version.metadata.name, attempt.number));
  const outcome = working(
    "Exporting",
    `attempt ${attempt.number}: its record was lost; the files that it published are being verified`,
  );
  const standing = {
    ...before,
    attempts: replaced(before.attempts, { ...attempt, state: "Running" as const }),
    outcome,
  };
  if (job === undefined) {
    const [refusal] = world.refusals;
    if (refusal !== undefined) return refused(before, refusal);
    const inputs = attemptInputs(world, model, attempt.number, attempt.threads);
    return { standing, effects: [{ verb: "create", object: inspectJob(inputs, settings) }] };
  }
  const pods = world.pods.filter((pod) => isOwnedBy(pod, job.metadata));
  const state = podState({ job, pods, events: world.events });
  if (state.is !== "ended") return { standing, effects: [], nextMs: eventsDueMs(job, pods, now) };
  const end = inspectionEnd(state.end, why, identityOf(version, attempt));
  return ended(world, wish, before, { finishedAt: now, ...attempt }, end);
};

export const attemptInputs = (
  { version, claim, settings }: Pick<VersionWorld, "version" | "claim" | "settings">,
  model: DeepModel,
  attempt: number,
  threads: number,
): AttemptInputs => ({
  version,
  attempt,
  placement: placementOf(model.spec),
  threads,
  ...scoreThreshold(version, model),
  gated: gatedConcepts(model, version),
  oneNode: isOneNode(claim, settings.store),
});

/** Not among the inputs of a version: what the DeepModel says now. */
const scoreThreshold = (
  { spec }: ModelVersion,
  model: DeepModel,
): Pick<AttemptInputs, "detectionScoreThreshold"> => {
  const template = templateRevision(spec.template, spec.templateRevision);
  const value =
    template?.type === "visual-detector"
      ? (model.spec.hyperparameters?.detection_score_threshold ??
        template.pretrained.hyperparameters.detection_score_threshold)
      : undefined;
  return value === undefined ? {} : { detectionScoreThreshold: value };
};
