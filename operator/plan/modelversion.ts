// ModelVersion: how one set of training inputs is run, attempt after attempt, until it is trained, failed, or not
// wanted any more. What becomes of an attempt under way is in `attempt.ts`.

import type { DeepModel } from "../../api/deepmodel.ts";
import type { Attempt, ModelVersion, ModelVersionStatus } from "../../api/modelversion.ts";
import { attemptInputs, follow } from "./attempt.ts";
import { stopped } from "./attemptoutcome.ts";
import { LONGEST_BACKOFF_MS } from "./attempts.ts";
import { condition, isTrue } from "./conditions.ts";
import { obstacle } from "./obstacle.ts";
import { placementDigest, threadsOf } from "./placement.ts";
import { isOwnedBy, msUntil, type Plan } from "./plan.ts";
import {
  begunAttempt,
  needsPreparation,
  preparing,
  starting,
  trainingEffects,
} from "./preparation.ts";
import { storeClaim } from "./store.ts";
import { prepareJob, prepareJobName, trainingJobName } from "./trainingjob.ts";
import { versionEvents, versionStatus } from "./versionstatus.ts";
import {
  ownJob,
  type Step,
  type VersionStanding,
  type VersionWorld,
  working,
} from "./versionworld.ts";
import { type Wish, wishOf } from "./wish.ts";

export const planVersion = (world: VersionWorld): Plan<ModelVersionStatus> => {
  const { version, model } = world;
  const isOrphan = model === undefined || !isOwnedBy(version, model.metadata);
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
  if (wish.is === "stop") return { standing: stopped(world.version, before, wish), effects: [] };
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
    const waitMs = msUntil(before.retryAt, world.now, LONGEST_BACKOFF_MS);
    if (waitMs > 0) return { standing: before, effects: [], nextMs: waitMs };
  }
  return begin(world, model, wish, isRelieved ? fresh : before);
};

/** Begins the next attempt, once nothing of the ones before is left. */
const begin = (
  world: VersionWorld,
  model: DeepModel,
  wish: Wish,
  before: VersionStanding,
): Step => {
  const { version, settings, claim } = world;
  const { name } = version.metadata;
  const number = before.attempt + 1;
  const [training, preparation] = [trainingJobName(name, number), prepareJobName(name, number)];
  const existing = ownJob(world, training) ?? ownJob(world, preparation);
  if (existing === undefined) {
    const blocked = obstacle(world, wish, before);
    if (blocked !== undefined) return blocked;
  }
  const { retryAt: _, ...standing } = before;
  const isFirst = needsPreparation(version, wish.placement, before.attempts.at(-1));
  const jobName = existing?.metadata.name ?? (isFirst ? preparation : training);
  const asked = {
    placement: wish.placement,
    threads: before.threads ?? threadsOf(wish.placement),
  };
  const attempt = begunAttempt(number, jobName, existing, asked);
  const begun: VersionStanding = {
    ...standing,
    attempt: number,
    threads: attempt.threads,
    attempts: [...before.attempts, attempt].slice(-8),
    outcome: isFirst ? preparing(version, attempt) : working("Starting", starting(attempt)),
  };
  if (existing !== undefined) return follow(world, wish, model, begun, attempt);
  const inputs = attemptInputs(world, model, number, attempt.threads);
  return {
    standing: begun,
    effects: [
      ...(claim === undefined ? [storeClaim(version.metadata.namespace, settings.store)] : []),
      ...(isFirst
        ? [{ verb: "create" as const, object: prepareJob(inputs, settings) }]
        : trainingEffects(world, inputs)),
    ],
  };
};
