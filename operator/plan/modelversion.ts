// ModelVersion: how one set of training inputs is run, attempt after attempt, until it is trained, failed, or not
// wanted any more. Decides which Job to create or delete; what an ended Job means is in `attemptend.ts`.

import type { DeepModel } from "../../api/deepmodel.ts";
import { annotation } from "../../api/group.ts";
import type { Attempt, ModelVersion, ModelVersionStatus } from "../../api/modelversion.ts";
import { type AttemptEnd, attemptEnd, inspectionEnd } from "./attemptend.ts";
import { BUDGET, backoffAfter } from "./attempts.ts";
import { condition, isTrue, type Outcome } from "./conditions.ts";
import type { Claim, Event, Job, Pod } from "./kubernetes.ts";
import type { Mail } from "./mail.ts";
import {
  jobPlacement,
  type Placement,
  placementDigest,
  placementOf,
  placementOfJob,
  threadsOf,
} from "./placement.ts";
import {
  type Effect,
  isOwnedBy,
  later,
  msUntil,
  type Plan,
  type Refusal,
  type Settings,
} from "./plan.ts";
import { eventsDueMs, isFinished, isLeft, type PodFacts, podState } from "./podstate.ts";
import { isOneNode, storeClaim } from "./store.ts";
import {
  type AttemptInputs,
  inspectJob,
  inspectJobName,
  trainingJob,
  trainingJobName,
} from "./trainingjob.ts";
import { versionEvents, versionStatus } from "./versionstatus.ts";

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
  completion?: Extract<AttemptEnd, { is: "published" }>["record"];
}

interface Step {
  standing: VersionStanding;
  effects: Effect[];
  nextMs?: number;
}

/** What the DeepModel wants of this version. */
interface Wish {
  /** `leave`: it has not decided, or wants none: nothing is started and nothing is stopped. */
  is: "run" | "leave" | "stop";
  reason: "Suspended" | "Superseded";
  placement: Placement;
  /** A retry that was asked for and not yet heard. */
  retry: boolean;
}

const AGAIN_MS = 5_000;
const REFUSED_AGAIN_MS = 30_000;

export const planVersion = (world: VersionWorld): Plan<ModelVersionStatus> => {
  const { version, model } = world;
  const isOrphan = model === undefined || !isOwnedBy(version, model.metadata.uid);
  if (isOrphan || version.metadata.deletionTimestamp !== undefined) {
    return { effects: [], events: [] };
  }
  const wish = wishOf(version, model);
  // Just created: its DeepModel is about to say that it wants it.
  if (wish.is === "leave" && version.status?.conditions === undefined) {
    return { effects: [], events: [] };
  }
  const step = nextStep(world, wish, model);
  const told = versionStatus(world, model, step.standing);
  const nextMs = Math.min(step.nextMs ?? Infinity, told.nextMs ?? Infinity);
  return {
    effects: step.effects,
    status: told.status,
    events: versionEvents(version, step.standing),
    ...(nextMs === Infinity ? {} : { nextMs }),
  };
};

export const wishOf = (version: ModelVersion, model: DeepModel): Wish => {
  const wanted = model.status?.wantedVersion;
  const isSuspended = model.spec.suspend === true;
  const isOther = wanted !== undefined && wanted !== version.metadata.name;
  return {
    is: isOther || isSuspended ? "stop" : wanted === undefined ? "leave" : "run",
    reason: isOther ? "Superseded" : "Suspended",
    placement: placementOf(model.spec),
    retry: askedRetry(version, model) !== undefined,
  };
};

/** The value of the retry annotation, where this version has not heard it. A new version has heard what its model had. */
export const askedRetry = (version: ModelVersion, model: DeepModel): string | undefined => {
  const asked = model.metadata.annotations?.[annotation.retry]?.slice(0, 256);
  const heard = version.status?.lastHandledRetry ?? model.status?.lastHandledRetry;
  return asked === heard ? undefined : asked;
};

const nextStep = (world: VersionWorld, wish: Wish, model: DeepModel): Step => {
  const before = standingBefore(world.version);
  if (world.version.status?.artifact !== undefined) return { standing: before, effects: [] };
  const last = before.attempts.at(-1);
  if (last !== undefined && isActive(last)) return follow(world, wish, model, before, last);
  return rest(world, wish, model, before, last);
};

const isActive = ({ state }: Attempt): boolean => state === "Pending" || state === "Running";

/** How it stood: what remains so unless something is decided. */
const standingBefore = ({ status }: ModelVersion): VersionStanding => {
  const ready = condition(status, "Ready");
  const words = {
    reason: ready?.reason ?? ("Creating" as const),
    message: ready?.message ?? "no attempt has begun",
  };
  const is =
    ready?.status === "True"
      ? "ready"
      : isTrue(status, "Stalled")
        ? "failed"
        : isTrue(status, "Reconciling") || ready === undefined
          ? "working"
          : "resting";
  return {
    outcome: { is, ...words },
    attempts: status?.attempts ?? [],
    attempt: status?.attempt ?? 0,
    countedAttempts: status?.countedAttempts ?? 0,
    ...(status?.retryAt === undefined ? {} : { retryAt: status.retryAt }),
    ...(status?.threads === undefined ? {} : { threads: status.threads }),
  };
};

/** Nothing runs: begin, wait for the time of the next attempt, or stay as it is. */
const rest = (
  world: VersionWorld,
  wish: Wish,
  model: DeepModel,
  before: VersionStanding,
  last: Attempt | undefined,
): Step => {
  if (wish.is === "stop") return { standing: stopped(before, wish), effects: [] };
  if (wish.is === "leave") return { standing: before, effects: [] };
  const isCured =
    last?.placement !== undefined && last.placement !== placementDigest(wish.placement);
  const isRelieved = wish.retry || isCured;
  const fresh = { ...before, countedAttempts: 0 };
  if (before.outcome.is === "failed") {
    if (isRelieved || before.outcome.reason === "NameConflict") {
      return begin(world, model, wish, isRelieved ? fresh : before);
    }
    return { standing: before, effects: [] };
  }
  if (before.retryAt !== undefined && !isRelieved) {
    const waitMs = msUntil(before.retryAt, world.now);
    if (waitMs > 0) return { standing: before, effects: [], nextMs: waitMs };
  }
  return begin(world, model, wish, isRelieved ? fresh : before);
};

/** Not wanted now. A failure stays what it is. */
const stopped = (before: VersionStanding, { reason }: Wish): VersionStanding => {
  if (before.outcome.is === "failed" && before.outcome.reason !== "NameConflict") return before;
  const { retryAt: _, ...standing } = before;
  return {
    ...standing,
    outcome: {
      is: "resting",
      reason,
      message:
        reason === "Suspended"
          ? "spec.suspend of its DeepModel is true; the next attempt goes on from the last checkpoint"
          : "its DeepModel wants another version; if this one is wanted again it goes on from the last checkpoint",
    },
  };
};

/** Begins the next attempt, once nothing of the ones before is left. */
const begin = (
  world: VersionWorld,
  model: DeepModel,
  wish: Wish,
  before: VersionStanding,
): Step => {
  const { version, settings, claim } = world;
  const number = before.attempt + 1;
  const name = trainingJobName(version.metadata.name, number);
  const existing = ownJob(world, name);
  const threads = before.threads ?? threadsOf(wish.placement);
  if (existing === undefined) {
    const remains = remainsOf(world);
    if (remains.is) {
      const outcome = working("Stopping", "the pod of the attempt before is ending");
      return {
        standing: { ...before, outcome },
        effects: remains.effects,
        nextMs: AGAIN_MS,
      };
    }
    const sibling = world.siblingJobs.find((job) => !isFinished(job));
    if (sibling !== undefined) {
      const outcome = working("Queued", `${sibling.metadata.name} of another version is ending`);
      return { standing: { ...before, outcome }, effects: [], nextMs: REFUSED_AGAIN_MS };
    }
    const [refusal] = world.refusals;
    if (refusal !== undefined) return refused(before, refusal);
  }
  const { retryAt: _, ...standing } = before;
  const made =
    (existing === undefined ? undefined : placementOfJob(existing)) ??
    jobPlacement(wish.placement, threads);
  const attempt: Attempt = {
    number,
    job: name,
    state: "Pending",
    counted: false,
    cpu: made.cpu,
    memory: made.memory,
    gpus: made.gpus,
    threads: made.threads,
    placement: made.digest,
  };
  const begun: VersionStanding = {
    ...standing,
    attempt: number,
    threads: made.threads,
    attempts: [...before.attempts, attempt].slice(-8),
    outcome: working("Starting", starting(attempt)),
  };
  if (existing !== undefined) return follow(world, wish, model, begun, attempt);
  const job = trainingJob(attemptInputs(world, model, number, threads), settings);
  return {
    standing: begun,
    effects: [
      ...(claim === undefined ? [storeClaim(version.metadata.namespace, settings.store)] : []),
      { verb: "create", object: job },
    ],
  };
};

export const starting = ({ number }: Pick<Attempt, "number">): string =>
  `attempt ${number}: the pod is starting`;

const working = (reason: Outcome["reason"], message: string): Outcome => ({
  is: "working",
  reason,
  message,
});

const attemptInputs = (
  { version, claim, settings }: VersionWorld,
  model: DeepModel,
  attempt: number,
  threads: number,
): AttemptInputs => ({
  version,
  attempt,
  placement: placementOf(model.spec),
  threads,
  gates: model.spec.gates,
  oneNode: isOneNode(claim, settings.store),
});

const refused = (before: VersionStanding, refusal: Refusal): Step => {
  const reason = refusal.kind === "PersistentVolumeClaim" ? "StoreNotReady" : refusal.reason;
  return {
    standing: {
      ...before,
      outcome: {
        is: reason === "NameConflict" ? "failed" : "working",
        reason,
        message: refusal.message,
      },
    },
    effects: [],
    nextMs: REFUSED_AGAIN_MS,
  };
};

const ownJob = (world: VersionWorld, name: string): Job | undefined =>
  world.jobs.find(
    (job) => job.metadata.name === name && isOwnedBy(job, world.version.metadata.uid),
  );

/** Jobs and pods of earlier attempts that may still hold the version's directory. */
const remainsOf = (world: VersionWorld): { is: boolean; effects: Effect[] } => {
  const { version } = world;
  const jobs = world.jobs.filter((job) => isOwnedBy(job, version.metadata.uid) && !isFinished(job));
  const uids = new Set(
    world.jobs.filter((job) => isOwnedBy(job, version.metadata.uid)).map((job) => job.metadata.uid),
  );
  const pods = world.pods.filter(
    (pod) =>
      isLeft(pod) &&
      // A pod whose Job is gone is told by its label; it must not be another owner's.
      pod.metadata.ownerReferences?.some(
        ({ uid, name }) => uids.has(uid) || name.startsWith(`${version.metadata.name}-a`),
      ),
  );
  return { is: jobs.length > 0 || pods.length > 0, effects: jobs.flatMap(deletion) };
};

/** The Job goes when its pods have gone. */
const deletion = ({ metadata }: Job): Effect[] =>
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

/** An attempt is under way: stop it, replace it, watch it, or judge its end. */
const follow = (
  world: VersionWorld,
  wish: Wish,
  model: DeepModel,
  before: VersionStanding,
  attempt: Attempt,
): Step => {
  const { version, now } = world;
  const job = ownJob(world, attempt.job);
  if (job === undefined) return withoutJob(world, wish, model, before, attempt);
  const pods = world.pods.filter((pod) => isOwnedBy(pod, job.metadata.uid));
  const state = podState({ job, pods, events: world.events });
  const seen: Attempt = { ...attempt, jobUid: job.metadata.uid };
  if (state.is === "ended") {
    const end = attemptEnd(state.end, {
      uid: version.metadata.uid,
      attempt: attempt.number,
      inputsHash: version.spec.inputsHash,
      memory: attempt.memory,
    });
    const facts = { ...seen, ...podFields(state.end.pod), finishedAt: state.end.finishedAt ?? now };
    return ended(world, wish, model, before, facts, end);
  }
  const why = stopReason(world, wish, seen, state.is, job);
  if (why !== undefined || seen.reason === "Stopping") {
    return stopping(before, { ...seen, reason: "Stopping" }, deletion(job), why);
  }
  switch (state.is) {
    case "stopping":
      return stopping(before, seen, [], "its Job is being deleted");
    case "waiting": {
      const message =
        state.reason === "Starting" ? starting(seen) : `attempt ${seen.number}: ${state.message}`;
      return {
        standing: {
          ...before,
          attempts: replaced(before.attempts, waitingAttempt(seen, state)),
          outcome: working(state.reason, message),
        },
        effects: [],
        nextMs: eventsDueMs(job, pods, now),
      };
    }
    case "running": {
      const { reason: _, message: __, ...running } = seen;
      const now: Attempt = { ...running, ...podFields(state.pod), state: "Running" };
      return {
        standing: {
          ...before,
          attempts: replaced(before.attempts, now),
          outcome: working("Training", runningMessage(now, wish)),
        },
        effects: [],
      };
    }
  }
};

const waitingAttempt = (
  seen: Attempt,
  { reason, message }: { reason: Outcome["reason"]; message: string },
): Attempt => {
  const { reason: _, message: __, ...attempt } = seen;
  return reason === "Starting" ? attempt : { ...attempt, reason, message: message.slice(0, 512) };
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

const replaced = (attempts: readonly Attempt[], attempt: Attempt): Attempt[] =>
  attempts.map((each) => (each.number === attempt.number ? attempt : each));

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
    return "resources, scheduling or deadline changed before its pod started";
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
    return { ...stopping(before, attempt, remains.effects, undefined), nextMs: AGAIN_MS };
  }
  if (attempt.reason === "Stopping") {
    const end: AttemptEnd = { is: "stopped", reason: wish.is === "stop" ? wish.reason : undefined };
    return ended(world, wish, model, before, { ...attempt, finishedAt: world.now }, end);
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
  const pods = world.pods.filter((pod) => isOwnedBy(pod, job.metadata.uid));
  const state = podState({ job, pods, events: world.events });
  if (state.is !== "ended") return { standing, effects: [], nextMs: eventsDueMs(job, pods, now) };
  const end = inspectionEnd(state.end, why, {
    uid: version.metadata.uid,
    attempt: attempt.number,
    inputsHash: version.spec.inputsHash,
    memory: attempt.memory,
  });
  return ended(world, wish, model, before, { finishedAt: now, ...attempt }, end);
};

const ended = (
  world: VersionWorld,
  wish: Wish,
  model: DeepModel,
  before: VersionStanding,
  attempt: Attempt,
  end: AttemptEnd,
): Step => {
  const { reason: _, message: __, ...facts } = attempt;
  switch (end.is) {
    case "recordless":
      return inspect(world, wish, model, before, attempt, "complete");
    case "published": {
      const { retryAt: ___, ...standing } = before;
      return {
        standing: {
          ...standing,
          attempts: replaced(before.attempts, { ...facts, state: "Succeeded" }),
          completion: end.record,
          outcome: { is: "ready", reason: "Trained", message: "trained and published" },
        },
        effects: [],
      };
    }
    case "stopped":
      return afterStop(world, wish, before, facts, end);
    case "failed":
      return afterFailure(world, wish, before, facts, end);
  }
};

/** Stopped after a checkpoint: by us, or by whoever needed the node. Never counted. */
const afterStop = (
  { now }: VersionWorld,
  wish: Wish,
  before: VersionStanding,
  facts: Attempt,
  end: Extract<AttemptEnd, { is: "stopped" }>,
): Step => {
  const wasAsked = wish.is === "stop" || end.reason === undefined;
  const reason = wish.is === "stop" ? wish.reason : end.reason;
  const attempts = replaced(before.attempts, {
    ...facts,
    state: "Stopped",
    counted: false,
    ...(reason === undefined ? {} : { reason }),
  });
  if (wish.is === "stop") return { standing: stopped({ ...before, attempts }, wish), effects: [] };
  const pauseMs = wasAsked ? 0 : backoffAfter(failuresInARow(attempts));
  return again(before, attempts, before.countedAttempts, pauseMs, now, {
    is: "working",
    reason: wasAsked ? "Starting" : "RetryingAfterFailure",
    message: wasAsked
      ? `attempt ${facts.number + 1} follows attempt ${facts.number}, which was stopped`
      : `attempt ${facts.number} was stopped from outside; attempt ${facts.number + 1} goes on from its checkpoint at ${later(now, pauseMs)}`,
  });
};

const again = (
  before: VersionStanding,
  attempts: Attempt[],
  countedAttempts: number,
  pauseMs: number,
  now: string,
  outcome: Outcome,
): Step => ({
  standing: { ...before, attempts, countedAttempts, retryAt: later(now, pauseMs), outcome },
  effects: [],
  nextMs: Math.max(pauseMs, 1),
});

const failuresInARow = (attempts: readonly Attempt[]): number => {
  const lastGood = attempts.findLastIndex(
    ({ state, reason }) => state === "Succeeded" || (state === "Stopped" && reason !== "Preempted"),
  );
  return attempts.length - 1 - lastGood;
};

const afterFailure = (
  { now }: VersionWorld,
  wish: Wish,
  before: VersionStanding,
  facts: Attempt,
  end: Extract<AttemptEnd, { is: "failed" }>,
): Step => {
  const { failure } = end;
  const countedAttempts = before.countedAttempts + 1;
  const attempts = replaced(before.attempts, {
    ...facts,
    state: "Failed",
    counted: true,
    reason: failure.reason,
    message: failure.message.slice(0, 512),
  });
  const isFinal = failure.retry === "never" || countedAttempts >= BUDGET;
  if (!isFinal && wish.is === "stop") {
    return { standing: stopped({ ...before, attempts, countedAttempts }, wish), effects: [] };
  }
  if (!isFinal) {
    const pauseMs = backoffAfter(failuresInARow(attempts));
    return again(before, attempts, countedAttempts, pauseMs, now, {
      is: "working",
      reason: "RetryingAfterFailure",
      message: `attempt ${facts.number}: ${failure.reason}: ${failure.message}; ${countedAttempts} of ${BUDGET} counted attempts are used; the next begins at ${later(now, pauseMs)}`,
    });
  }
  const { retryAt: _, ...standing } = before;
  return {
    standing: {
      ...standing,
      attempts,
      countedAttempts,
      outcome: {
        is: "failed",
        reason: failure.reason,
        message: `attempt ${facts.number}: ${failure.message}; ${end.cure}`,
      },
    },
    effects: [],
  };
};
