// What the end of an attempt makes of its version: trained, stopped, tried again, or failed.

import type { Attempt, ModelVersion } from "../../api/modelversion.ts";
import type { Reason } from "../../api/reasons.ts";
import type { Conclusion } from "./attemptend.ts";
import { BUDGET, backoffAfter } from "./attempts.ts";
import type { Outcome } from "./conditions.ts";
import { later } from "./plan.ts";
import { replaced, type Step, type VersionStanding, type VersionWorld } from "./versionworld.ts";
import type { Wish } from "./wish.ts";

/** What the end of an attempt makes of the version. */
export const ended = (
  world: VersionWorld,
  wish: Wish,
  before: VersionStanding,
  attempt: Attempt,
  end: Conclusion,
): Step => {
  const { reason: _, message: __, ...facts } = attempt;
  switch (end.is) {
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

/** Not wanted now. A failure stays what it is. */
export const stopped = (
  version: ModelVersion,
  before: VersionStanding,
  { reason }: Wish,
): VersionStanding => {
  if (before.outcome.is === "failed" && before.outcome.reason !== "NameConflict") return before;
  const { retryAt: _, ...standing } = before;
  const [why, next] =
    reason === "Suspended"
      ? (["spec.suspend of its DeepModel is true", "the next attempt"] as const)
      : (["its DeepModel wants another version", "if this one is wanted again it"] as const);
  return {
    ...standing,
    outcome: {
      is: "resting",
      reason,
      message: hasCheckpoint(version) ? `${why}; ${next} goes on from the last checkpoint` : why,
    },
  };
};

/** As far as it was reported: it may have been stopped before its first, or while it was prepared. */
export const hasCheckpoint = ({ status }: ModelVersion): boolean =>
  status?.checkpoint !== undefined;

/** Stopped after a checkpoint: by us, or by whoever needed the node. Never counted. */
const afterStop = (
  { version, now }: VersionWorld,
  wish: Wish,
  before: VersionStanding,
  facts: Attempt,
  end: Extract<Conclusion, { is: "stopped" }>,
): Step => {
  const wasAsked = wish.is === "stop" || end.reason === undefined;
  const reason = wish.is === "stop" ? wish.reason : end.reason;
  const attempts = replaced(before.attempts, {
    ...facts,
    state: "Stopped",
    counted: false,
    ...(reason === undefined ? {} : { reason }),
  });
  if (wish.is === "stop") {
    return { standing: stopped(version, { ...before, attempts }, wish), effects: [] };
  }
  const pauseMs = wasAsked ? 0 : backoffAfter(failuresInARow(attempts));
  return again(before, attempts, before.countedAttempts, pauseMs, now, {
    is: "working",
    reason: wasAsked ? "Starting" : "RetryingAfterFailure",
    message: wasAsked
      ? `attempt ${facts.number + 1} follows attempt ${facts.number}, which was stopped`
      : `${stoppedText(facts, reason)}; attempt ${facts.number + 1} ${hasCheckpoint(version) ? "goes on from its checkpoint" : "follows"} at ${later(now, pauseMs)}`,
  });
};

const stoppedText = ({ number }: Attempt, reason: Reason | undefined): string =>
  reason === "RendezvousTimedOut"
    ? `the pods of attempt ${number} did not all come together in time`
    : `attempt ${number} was stopped from outside`;

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

/** Stops that the cluster made; those that were asked for are no trouble. */
const troubles: readonly (Reason | undefined)[] = ["Preempted", "RendezvousTimedOut"];

const failuresInARow = (attempts: readonly Attempt[]): number => {
  const lastGood = attempts.findLastIndex(
    ({ state, reason }) =>
      state === "Succeeded" || (state === "Stopped" && !troubles.includes(reason)),
  );
  return attempts.length - 1 - lastGood;
};

const afterFailure = (
  { version, now }: VersionWorld,
  wish: Wish,
  before: VersionStanding,
  facts: Attempt,
  end: Extract<Conclusion, { is: "failed" }>,
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
    const counted = { ...before, attempts, countedAttempts };
    return { standing: stopped(version, counted, wish), effects: [] };
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
        message: `attempt ${facts.number}: ${failure.message.replace(/\.$/, "")}; ${end.cure}`,
      },
    },
    effects: [],
  };
};
