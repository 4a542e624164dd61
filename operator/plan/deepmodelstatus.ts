// What was decided about a DeepModel, as its status and as events. `Ready` answers for the spec, `Available` for the
// service.

import type { Dataset } from "../../api/dataset.ts";
import type { DeepModel, DeepModelStatus } from "../../api/deepmodel.ts";
import type { ModelVersion, ModelVersionStatus } from "../../api/modelversion.ts";
import type { ResolvedBase } from "./base.ts";
import {
  type Claimed,
  type Claims,
  condition,
  conditions,
  isTrue,
  type Outcome,
  outcomeClaims,
} from "./conditions.ts";
import { dataWarning } from "./dataproblem.ts";
import type { Decision } from "./deepmodel.ts";
import { metricText, plain } from "./display.ts";
import { gateProblem, isComplete } from "./gates.ts";
import type { EventNote } from "./plan.ts";
import { starting } from "./preparation.ts";
import type { Problem } from "./specproblem.ts";
import { resolvedStatus } from "./wantedinputs.ts";

/** A status without what it mirrors of a running version. */
export const withoutProgress = (status: DeepModelStatus): unknown => {
  const { progress: _, metric: __, resolved, ...lifecycle } = status;
  if (resolved === undefined) return lifecycle;
  const { loaded: ___, new: ____, ...base } = resolved.base;
  return { ...lifecycle, resolved: { ...resolved, base } };
};

export const deepModelStatus = (
  model: DeepModel,
  dataset: Dataset | undefined,
  decision: Decision,
  now: string,
): DeepModelStatus => {
  const generation = model.metadata.generation ?? 0;
  const { ready, wanted, hash, wantedSince, resolved, base } = decision;
  const shown = wanted?.version?.status;
  const metric = shown?.metric ?? (ready && metricText(ready.status?.metrics?.values));
  return {
    observedGeneration: generation,
    conditions: conditions(model.status?.conditions, claimsOf(model, dataset, decision), {
      generation,
      now,
    }),
    ...(ready === undefined ? {} : { readyVersion: ready.metadata.name }),
    ...(wanted === undefined ? {} : { wantedVersion: wanted.name }),
    ...(hash === undefined ? {} : { wantedHash: hash }),
    ...(wantedSince === undefined ? {} : { wantedSince }),
    lastVersionNumber: decision.lastVersionNumber,
    ...(decision.retry === undefined ? {} : { lastHandledRetry: decision.retry }),
    ...(decision.retrain === undefined ? {} : { lastHandledRetrain: decision.retrain }),
    ...(resolved === undefined || base === undefined
      ? {}
      : {
          resolved: resolvedStatus(
            model,
            resolved,
            { ...base, ...loadedOf(base, wanted?.version) },
            dataset?.status?.data,
          ),
        }),
    ...(shown?.progress === undefined ? {} : { progress: shown.progress }),
    ...(ready?.status?.metrics === undefined ? {} : { metrics: ready.status.metrics }),
    ...(metric === undefined ? {} : { metric }),
  };
};

/** What a version's training loaded of this base; another one says nothing of it. */
const loadedOf = (
  { digest }: ResolvedBase,
  version: ModelVersion | undefined,
): ModelVersionStatus["base"] =>
  version !== undefined && version.spec.base.digest === digest ? version.status?.base : undefined;

const claimsOf = (model: DeepModel, dataset: Dataset | undefined, decision: Decision): Claims => {
  const { stand, ready, rejected, impossible, resolved } = decision;
  const wanted = wantedOutcome(model, decision);
  const refused = rejected ?? (stand === undefined ? impossible : undefined);
  const outcome: Outcome = stand === undefined ? wanted : trained(stand);
  const retrained = retrainedClaim(model, decision, wanted);
  const warning =
    worseThanBase(decision) ?? (resolved && dataWarning(model, dataset?.status?.data, resolved));
  const stale = condition(decision.wanted?.version?.status, "ProgressStale");
  return {
    ...outcomeClaims(outcome),
    Accepted:
      refused === undefined
        ? { status: "True", reason: "Accepted", message: "the spec is valid" }
        : { status: "False", ...refused },
    Available: availableClaim(ready),
    ...(retrained === undefined ? {} : { Retrained: retrained }),
    ...(warning === undefined ? {} : { DataWarning: { status: "True", ...warning } }),
    ...(stale === undefined
      ? {}
      : {
          ProgressStale: { status: stale.status, reason: stale.reason, message: stale.message },
        }),
  };
};

/** An embedder that finds less than its base did before the training: of the newest one that is trained. */
const worseThanBase = ({ wanted, ready }: Decision): Problem | undefined => {
  const measured =
    wanted?.version !== undefined && isComplete(wanted.version) ? wanted.version : ready;
  const { recall_at_1: trained, baseline_recall_at_1: base } =
    measured?.status?.metrics?.values ?? {};
  return trained === undefined || base === undefined || trained >= base
    ? undefined
    : {
        reason: "WorseThanBase",
        message: `${measured?.metadata.name}: recall_at_1 is ${plain(trained)}, and ${plain(base)} with the base as it was; lower the learning rate or spec.hyperparameters.base_gradient_multiplier, or use the base itself`,
      };
};

export const availableClaim = (ready: ModelVersion | undefined): Claimed =>
  ready === undefined
    ? { status: "False", reason: "NothingTrained", message: "no version is usable yet" }
    : { status: "True", reason: "Available", message: `${ready.metadata.name} is usable` };

const trained = ({ metadata, status }: ModelVersion): Outcome => ({
  is: "ready",
  reason: "Trained",
  message: `${metadata.name} is trained${status?.metric === undefined ? "" : `: ${status.metric}`}`,
});

/** How the version that is wanted stands, or what keeps it from being made. */
const wantedOutcome = (model: DeepModel, decision: Decision): Outcome => {
  const { rejected, impossible, waiting, wanted } = decision;
  const problem = rejected ?? impossible;
  if (problem !== undefined) return { is: "failed", ...problem };
  if (wanted?.version !== undefined && isComplete(wanted.version)) {
    const gate = gateProblem(model.spec.gates, wanted.version);
    if (gate === undefined) return trained(wanted.version);
    return { is: "failed", reason: "GateNotMet", message: `${wanted.name}: ${gate}` };
  }
  if (wanted !== undefined && isTrue(wanted.version?.status, "Stalled")) {
    return { is: "failed", ...wordsOf(wanted.name, wanted.version) };
  }
  if (model.spec.suspend === true) {
    return {
      is: "resting",
      reason: "Suspended",
      message: "spec.suspend is true; set it to false to train",
    };
  }
  if (wanted !== undefined) return { is: "working", ...wordsOf(wanted.name, wanted.version) };
  if (waiting?.reason === "NameConflict") return { is: "failed", ...waiting };
  return {
    is: "working",
    ...(waiting ?? { reason: "Creating", message: "a version is about to be made" }),
  };
};

/** The version's own words; one that has none yet, or is about to go on, is starting. */
const wordsOf = (
  name: string,
  version: ModelVersion | undefined,
): Pick<Outcome, "reason" | "message"> => {
  const ready = condition(version?.status, "Ready");
  if (ready === undefined || ready.reason === "Superseded" || ready.reason === "Suspended") {
    const number = (version?.status?.attempt ?? 0) + 1;
    return { reason: "Starting", message: `${name}: ${starting({ number })}` };
  }
  return { reason: ready.reason, message: `${name}: ${ready.message}` };
};

/** How the training on changed data stands, while the version before still answers for the spec. */
const retrainedClaim = (
  model: DeepModel,
  { stand, wanted, ready, waiting }: Decision,
  outcome: Outcome,
): Claimed | undefined => {
  if (waiting?.reason === "RetrainPending") return { status: "Unknown", ...waiting };
  if (stand !== undefined) {
    // Data that are on their way are nothing to retrain on yet.
    if (waiting !== undefined && outcome.is === "working") {
      return waiting.reason === "Creating"
        ? { status: "Unknown", reason: "Creating", message: waiting.message }
        : undefined;
    }
    if (outcome.is === "failed") {
      const reason = outcome.reason === "GateNotMet" ? "GateNotMet" : "RetrainFailed";
      return { status: "False", reason, message: `${outcome.reason}: ${outcome.message}` };
    }
    return { status: "Unknown", reason: outcome.reason, message: outcome.message };
  }
  const before = condition(model.status, "Retrained");
  const isStill =
    before?.observedGeneration === (model.metadata.generation ?? 0) &&
    ready !== undefined &&
    ready.metadata.name === wanted?.name;
  return isStill
    ? {
        status: "True",
        reason: "Retrained",
        message: `${ready.metadata.name} is trained on the newest data`,
      }
    : undefined;
};

/** Events for transitions only. */
export const deepModelEvents = (
  model: DeepModel,
  status: DeepModelStatus,
  removed: readonly ModelVersion[],
): EventNote[] => [
  ...(status.lastVersionNumber !== undefined &&
  status.lastVersionNumber > (model.status?.lastVersionNumber ?? 0)
    ? [
        {
          type: "Normal" as const,
          reason: "VersionCreated" as const,
          message: `${model.metadata.name}-v${status.lastVersionNumber} is created`,
        },
      ]
    : []),
  ...removed.map(
    (version): EventNote => ({
      type: "Normal",
      reason: "VersionRemoved",
      message: `${version.metadata.name} is removed: ${isComplete(version) ? "spec.versionsToKeep" : "of those that did not complete only the last are kept"}`,
    }),
  ),
  ...readyEvents(model, status),
  ...retrainEvents(model, status),
];

const readyEvents = (model: DeepModel, status: DeepModelStatus): EventNote[] => {
  const before = condition(model.status, "Ready");
  const now = condition(status, "Ready");
  if (now === undefined || (before?.reason === now.reason && before.status === now.status)) {
    return [];
  }
  const { reason, message } = now;
  if (now.status === "True") return [{ type: "Normal", reason, message }];
  return isTrue(status, "Stalled") ? [{ type: "Warning", reason, message }] : [];
};

const retrainEvents = (model: DeepModel, status: DeepModelStatus): EventNote[] => {
  const before = condition(model.status, "Retrained");
  const now = condition(status, "Retrained");
  if (now?.status !== "False" || before?.status === "False") return [];
  return [{ type: "Warning", reason: now.reason, message: now.message }];
};
