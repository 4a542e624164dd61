// How a version stands, as its status and as events.

import type { DeepModel } from "../../api/deepmodel.ts";
import { versionPath } from "../../api/group.ts";
import type { Attempt, ModelVersion, ModelVersionStatus } from "../../api/modelversion.ts";
import { durationText } from "./attempts.ts";
import { type Claims, condition, conditions, type Outcome, outcomeClaims } from "./conditions.ts";
import { metricText } from "./display.ts";
import { gatedStatus } from "./gates.ts";
import type { EventNote } from "./plan.ts";
import {
  bytesOf,
  readMails,
  settledProgress,
  type Told,
  thinnedHistory,
  toldBefore,
} from "./versionprogress.ts";
import type { VersionStanding, VersionWorld } from "./versionworld.ts";
import { askedRetry, wishOf } from "./wish.ts";

/** A running attempt that reports nothing for so long is shown as stale. */
export const STALE_AFTER_MS = 120_000;

export const versionStatus = (
  world: VersionWorld,
  model: DeepModel,
  standing: VersionStanding,
): { status: ModelVersionStatus; nextMs?: number } => {
  const { version, now } = world;
  const generation = version.metadata.generation ?? 0;
  const { attempt: heard, ...told } = toldBy(world, standing);
  const attempts = standing.attempts.map((each) =>
    each.number === standing.attempt ? { ...each, ...heard } : each,
  );
  const running = attempts.find(({ state }) => state === "Running");
  const outcome = phased(standing.outcome, told);
  const stale = running && staleness(world, running, told);
  const claims: Claims = {
    ...outcomeClaims(outcome),
    ...(stale?.message === undefined
      ? {}
      : {
          ProgressStale: {
            status: "True",
            reason: "NoProgressReported",
            message: stale.message,
          },
        }),
  };
  const status: ModelVersionStatus = {
    observedGeneration: generation,
    conditions: conditions(version.status?.conditions, claims, { generation, now }),
    attempt: standing.attempt,
    countedAttempts: standing.countedAttempts,
    ...(standing.retryAt === undefined ? {} : { retryAt: standing.retryAt }),
    attempts,
    ...(standing.threads === undefined ? {} : { threads: standing.threads }),
    ...heardRetry(version, model),
    ...wantedAt(version, model),
    ...told,
    ...completed(world, standing),
  };
  return { status, ...(stale?.dueMs === undefined ? {} : { nextMs: stale.dueMs }) };
};

/** Progress as far as it is known; a version that has ended keeps a thinned history. */
const toldBy = (world: VersionWorld, standing: VersionStanding): Told => {
  const { version } = world;
  // A settled version is immutable: a late report changes nothing.
  if (version.status?.artifact !== undefined) return toldBefore(version.status);
  const told = readMails(version, standing.attempt, world.mails);
  if (standing.completion !== undefined) {
    const taken = bytesOf(gatedStatus(version, standing.completion.gated));
    return settledProgress(told, standing.completion, world.now, taken);
  }
  return standing.outcome.is === "failed" ? { ...told, ...thinnedHistory(told) } : told;
};

const completed = (
  { version }: VersionWorld,
  { completion }: VersionStanding,
): Partial<ModelVersionStatus> => {
  if (completion === undefined) {
    const { artifact, metrics, bestEpoch, gated } = version.status ?? {};
    return {
      ...(artifact === undefined ? {} : { artifact }),
      ...(metrics === undefined ? {} : { metrics }),
      ...(bestEpoch === undefined ? {} : { bestEpoch }),
      ...(gated === undefined ? {} : { gated }),
    };
  }
  const { artifact, metrics, bestEpoch, base } = completion;
  const directory = versionPath(
    version.metadata.namespace,
    version.spec.model,
    version.spec.number,
  );
  const metric = metricText(metrics.values);
  const inside = artifact.path.replace(/^(\.?\/)+|\/+$/g, "");
  return {
    artifact: {
      path: inside === "" || inside === "." ? directory : `${directory}/${inside}`,
      digest: artifact.digest,
      bytes: artifact.bytes,
    },
    metrics,
    bestEpoch,
    ...(base === undefined ? {} : { base }),
    ...gatedStatus(version, completion.gated),
    ...(metric === undefined ? {} : { metric }),
  };
};

const heardRetry = (
  version: ModelVersion,
  model: DeepModel,
): Pick<ModelVersionStatus, "lastHandledRetry"> => {
  const before = version.status?.lastHandledRetry;
  // Only the wanted version is asked; the others keep what they heard.
  const heard = wishOf(version, model).is === "run" ? askedRetry(version, model) : undefined;
  const value = heard ?? before ?? model.status?.lastHandledRetry;
  return value === undefined ? {} : { lastHandledRetry: value };
};

/** Versions are wanted one at a time, so the order in which they became wanted is that in which they last were. */
const wantedAt = (
  version: ModelVersion,
  model: DeepModel,
): Pick<ModelVersionStatus, "lastWantedAt"> => {
  const before = version.status?.lastWantedAt;
  const since = model.status?.wantedSince;
  const isWanted = model.status?.wantedVersion === version.metadata.name;
  const value = isWanted && since !== undefined && since > (before ?? "") ? since : before;
  return value === undefined ? {} : { lastWantedAt: value };
};

const phased = (outcome: Outcome, { progress }: Told): Outcome => {
  if (outcome.reason !== "Training") return outcome;
  switch (progress?.phase) {
    case "evaluating":
      return { ...outcome, reason: "Evaluating" };
    case "exporting":
    case "publishing":
      return { ...outcome, reason: "Exporting" };
    default:
      return outcome;
  }
};

const staleness = (
  { settings, now }: VersionWorld,
  running: Attempt,
  { progress, reported }: Told,
): { message?: string; dueMs?: number } => {
  if (settings.progressUrl === undefined) return {};
  const reportedAt = reported?.attempt === running.number ? progress?.updatedAt : undefined;
  // A pod that replaces another in the same attempt, hours later perhaps, is not to blame for its silence.
  const [last] = [reportedAt, running.startedAt]
    .filter((time) => time !== undefined)
    .sort((a, b) => Date.parse(b) - Date.parse(a));
  if (last === undefined) return {};
  const silentMs = Date.parse(now) - Date.parse(last);
  if (silentMs < STALE_AFTER_MS) return { dueMs: STALE_AFTER_MS - Math.max(0, silentMs) };
  return {
    message: `no progress was reported since ${last}, for more than ${durationText(STALE_AFTER_MS)}; the training goes on`,
  };
};

/** Events for transitions of Ready only. */
export const versionEvents = (
  version: ModelVersion,
  { outcome, attempt }: VersionStanding,
): EventNote[] => {
  const before = condition(version.status, "Ready");
  const notes: EventNote[] = [];
  if (attempt > (version.status?.attempt ?? 0)) {
    notes.push({
      type: "Normal",
      reason: "AttemptStarted",
      message: `attempt ${attempt} of ${version.metadata.name} was created`,
    });
  }
  if (before?.reason === outcome.reason || outcome.is === "resting") return notes;
  const note = { reason: outcome.reason, message: outcome.message };
  if (outcome.is === "ready") notes.push({ type: "Normal", ...note });
  else if (outcome.is === "failed" || isTrouble(outcome)) notes.push({ type: "Warning", ...note });
  return notes;
};

const quiet: ReadonlySet<string> = new Set([
  "Creating",
  "Preparing",
  "Starting",
  "Queued",
  "Training",
  "Evaluating",
  "Exporting",
  "Stopping",
]);
const isTrouble = ({ reason }: Outcome): boolean => !quiet.has(reason);
