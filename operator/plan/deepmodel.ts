// DeepModel: which version its spec and data want, whether a new one is made, and which one is ready.

import type { Dataset } from "../../api/dataset.ts";
import type { DeepModel, DeepModelStatus } from "../../api/deepmodel.ts";
import { API_VERSION, annotation, label } from "../../api/group.ts";
import type { ModelVersion, ModelVersionSpec } from "../../api/modelversion.ts";
import {
  type BaseUsers,
  type BaseWorld,
  numbersInUse,
  type ResolvedBase,
  resolvedBase,
  wantedBase,
} from "./base.ts";
import { isTrue } from "./conditions.ts";
import { deepModelEvents, deepModelStatus } from "./deepmodelstatus.ts";
import { isComplete, isUsable } from "./gates.ts";
import { heldBack, unsettledProblem } from "./heldback.ts";
import {
  type Effect,
  isOwnedBy,
  type Manifest,
  ownerReference,
  ownLabels,
  type Plan,
  type Refusal,
  tryAgainMs,
} from "./plan.ts";
import { versionsToRemove } from "./retention.ts";
import { deepModelProblem, type Problem } from "./specproblem.ts";
import {
  answersForSpec,
  type Inputs,
  type ResolvedSpec,
  resolveSpec,
  type WantedInputs,
  wantedInputs,
} from "./wantedinputs.ts";

export interface ModelWorld {
  model: DeepModel;
  /** The Dataset that `spec.datasetRef` names. */
  dataset: Dataset | undefined;
  /** The DeepModel that `spec.base.modelRef` names. */
  base: BaseWorld;
  /** Those that begin with this one. */
  users: BaseUsers;
  /** ModelVersions that this DeepModel owns, and others of its name, which are never adopted. */
  versions: readonly ModelVersion[];
  refusals: readonly Refusal[];
  now: string;
}

/** What was decided: all that the status is made of. */
export interface Decision {
  /** Versions that this very object owns, those about to be removed left out. */
  versions: readonly ModelVersion[];
  resolved?: ResolvedSpec;
  /** Where the weights begin, as far as it is known. */
  base?: ResolvedBase;
  /** The spec itself cannot work. */
  rejected?: Problem;
  /** These data cannot train this spec. */
  impossible?: Problem;
  /** What is waited for before a version can be made. */
  waiting?: Problem;
  hash?: string;
  wantedSince?: string;
  /** The version of the wanted hash: there, or about to be created. */
  wanted?: { name: string; version: ModelVersion | undefined };
  lastVersionNumber: number;
  ready?: ModelVersion;
  /** A version that answers for this spec with other data, ready while the wanted one is not. */
  stand?: ModelVersion;
  retrain?: string;
  retry?: string;
}

interface Choice {
  decision: Decision;
  effects: Effect[];
  nextMs?: number;
}

/** From the second version on a hash must be wanted for so long: one commit never trains twice. */
export const STABLE_AFTER_MS = 10_000;
const KEPT_DEFAULT = 5;

export const planDeepModel = (world: ModelWorld): Plan<DeepModelStatus> => {
  const { model, now } = world;
  if (model.metadata.deletionTimestamp !== undefined) return { effects: [], events: [] };
  const versions = world.versions.filter(
    (version) =>
      isOwnedBy(version, model.metadata) && version.metadata.deletionTimestamp === undefined,
  );
  const { decision, effects, nextMs } = choose(world, versions);
  const decided = withReady(model, world.dataset, decision);
  const removed = versionsToRemove(versions, {
    ready: decided.ready?.metadata.name,
    wanted: decided.wanted?.name,
    inUse: numbersInUse(model, world.users),
    most: model.spec.versionsToKeep ?? KEPT_DEFAULT,
  });
  const status = deepModelStatus(model, world.dataset, decided, now);
  return {
    effects: [...effects, ...removed.map(removal)],
    status,
    events: deepModelEvents(model, status, removed),
    ...(nextMs === undefined ? {} : { nextMs }),
  };
};

const removal = ({ metadata }: ModelVersion): Effect => ({
  verb: "delete",
  kind: "ModelVersion",
  namespace: metadata.namespace,
  name: metadata.name,
  uid: metadata.uid,
  foreground: false,
});

const annotated = (model: DeepModel, name: string): string | undefined =>
  model.metadata.annotations?.[name]?.slice(0, 256);

/** Which version is wanted. */
const choose = (world: ModelWorld, versions: readonly ModelVersion[]): Choice => {
  const { model, dataset } = world;
  const { status } = model;
  const lastVersionNumber = Math.max(
    status?.lastVersionNumber ?? 0,
    ...versions.map(({ spec }) => spec.number),
  );
  const start: Decision = {
    versions,
    lastVersionNumber,
    ...heard("retry", annotated(model, annotation.retry) ?? status?.lastHandledRetry),
    ...heard("retrain", annotated(model, annotation.retrain) ?? status?.lastHandledRetrain),
  };
  const rejected = deepModelProblem(model);
  const resolved = resolveSpec(model, versions, dataset?.status?.data);
  if (rejected !== undefined || resolved === undefined) {
    const problem = rejected ?? {
      reason: "TemplateUnknown",
      message: "spec.templateRevision: there is no such revision",
    };
    return { decision: withoutHearing(model, { ...start, rejected: problem }), effects: [] };
  }
  const found = wantedBase(model, resolved.template, world.base);
  const begun = { ...start, resolved, base: resolvedBase(model, resolved.template, found) };
  const wanted = wantedInputs(model, dataset, resolved, found);
  if (wanted.is === "known") return known(world, begun, resolved, wanted);
  if (wanted.is === "impossible") {
    const decision = { ...begun, impossible: wanted.problem };
    return { decision: withoutHearing(model, decision), effects: [] };
  }
  return unknown(world, begun, resolved, wanted.waiting);
};

const heard = <K extends "retry" | "retrain">(key: K, value: string | undefined) =>
  value === undefined ? {} : { [key]: value };

/** The data cannot be seen: the decision stands while the spec, as far as can be told, is the one that it was for. */
const unknown = (
  world: ModelWorld,
  base: Decision,
  resolved: ResolvedSpec,
  waiting: Problem,
): Choice => {
  const { model, dataset } = world;
  const { status } = model;
  const version = base.versions.find(({ metadata }) => metadata.name === status?.wantedVersion);
  const isSameSpec =
    version !== undefined &&
    (status?.observedGeneration === (model.metadata.generation ?? 0) ||
      answersForSpec(model, version, dataset, resolved));
  if (!isSameSpec) return { decision: withoutHearing(model, { ...base, waiting }), effects: [] };
  const decision = {
    ...base,
    ...sinceWhen(world, version.spec.inputsHash),
    wanted: named(version),
  };
  return { decision: withRetry(model, withoutRetrain(model, decision), version), effects: [] };
};

const named = (version: ModelVersion) => ({ name: version.metadata.name, version });

const sinceWhen = (
  { model: { status }, now }: ModelWorld,
  hash: string,
): Pick<Decision, "hash" | "wantedSince"> => {
  const since = status?.wantedHash === hash ? status.wantedSince : undefined;
  // After a clock was set back, what seems to be in the future began at the latest now.
  return { hash, wantedSince: since === undefined || isAfter(since, now) ? now : since };
};

const isAfter = (a: string, b: string): boolean => Date.parse(a) > Date.parse(b);

type Known = Extract<WantedInputs, { is: "known" }>;

const known = (
  world: ModelWorld,
  base: Decision,
  resolved: ResolvedSpec,
  { inputs, unsettled }: Known,
): Choice => {
  const { model } = world;
  const existing = versionOf(base, inputs);
  const fresh = { ...base, ...sinceWhen(world, inputs.inputsHash) };
  if (existing !== undefined) {
    const decision = withRetry(model, { ...fresh, wanted: named(existing) }, existing);
    const isSettled = unsettledProblem(model, unsettled, false) === undefined;
    return { decision: isSettled ? decision : withoutRetrain(model, decision), effects: [] };
  }
  const answering = answeringVersion(world, base, resolved);
  const held = answering && heldBack(model, answering, inputs);
  const isAsked = isRetrainAsked(model);
  const waiting = unsettledProblem(model, unsettled, answering !== undefined && !isAsked);
  const made = held && versionOf(base, held.inputs);
  if (held !== undefined && made !== undefined && !(isAsked && waiting === undefined)) {
    // It stays wanted: one that still trains goes on.
    const pending =
      isAsked && waiting ? { ...held.pending, message: waiting.message } : held.pending;
    const decision = { ...fresh, waiting: pending, wanted: named(made) };
    return { decision: withRetry(model, withoutRetrain(model, decision), made), effects: [] };
  }
  const next = isAsked || held === undefined ? inputs : held.inputs;
  const begun = { ...base, ...sinceWhen(world, next.inputsHash) };
  if (waiting === undefined) return anew(world, begun, next, answering);
  return { decision: withoutRetrain(model, { ...begun, waiting }), effects: [] };
};

/** The newest version of these inputs. */
const versionOf = ({ versions }: Decision, inputs: Inputs): ModelVersion | undefined =>
  versions
    .filter(({ spec }) => spec.inputsHash === inputs.inputsHash)
    .sort((a, b) => b.spec.number - a.spec.number)[0];

/** No version of the wanted inputs is there: one is made, once they have been wanted for long enough. */
const anew = (
  world: ModelWorld,
  fresh: Decision,
  inputs: Inputs,
  answering: ModelVersion | undefined,
): Choice => {
  const { model, now } = world;
  if (model.spec.suspend === true) {
    return {
      decision: answering === undefined ? fresh : withoutRetrain(model, fresh),
      effects: [],
    };
  }
  const steadyMs = Date.parse(now) - Date.parse(fresh.wantedSince ?? now);
  if (fresh.lastVersionNumber > 0 && steadyMs < STABLE_AFTER_MS) {
    const settling: Problem = {
      reason: "Creating",
      message: "a new version is made once its inputs have been the same for 10 s",
    };
    return {
      decision: withoutRetrain(model, { ...fresh, waiting: settling }),
      effects: [],
      nextMs: STABLE_AFTER_MS - steadyMs,
    };
  }
  return create(world, fresh, inputs);
};

/** The version that answers for this spec with the data and the base that were there before: the wanted one, or the newest. */
const answeringVersion = (
  { model, dataset }: ModelWorld,
  { versions }: Decision,
  resolved: ResolvedSpec,
): ModelVersion | undefined => {
  const rank = (version: ModelVersion): number =>
    version.metadata.name === model.status?.wantedVersion ? 2 : isComplete(version) ? 1 : 0;
  return versions
    .filter(
      (version) =>
        (isComplete(version) || !isTrue(version.status, "Stalled")) &&
        answersForSpec(model, version, dataset, resolved),
    )
    .sort((a, b) => rank(b) - rank(a) || b.spec.number - a.spec.number)[0];
};

const isRetrainAsked = (model: DeepModel): boolean => {
  const asked = annotated(model, annotation.retrain);
  return asked !== undefined && asked !== model.status?.lastHandledRetrain;
};

/** What was asked for while nothing can be trained waits, too. */
const withoutHearing = (model: DeepModel, decision: Decision): Decision => {
  const { retry: _, ...rest } = withoutRetrain(model, decision);
  return { ...rest, ...heard("retry", model.status?.lastHandledRetry) };
};

/** A permission to retrain that cannot be used yet is not used up. */
const withoutRetrain = (model: DeepModel, { retrain: _, ...decision }: Decision): Decision => ({
  ...decision,
  ...heard("retrain", model.status?.lastHandledRetrain),
});

/** A retry is heard by the version it is meant for; the model says so after it. */
const withRetry = (
  model: DeepModel,
  decision: Decision,
  version: ModelVersion | undefined,
): Decision => {
  const asked = annotated(model, annotation.retry);
  const isPending =
    version?.status?.conditions !== undefined &&
    !isComplete(version) &&
    version.status.lastHandledRetry !== asked;
  if (!isPending) return decision;
  const { retry: _, ...rest } = decision;
  return { ...rest, ...heard("retry", model.status?.lastHandledRetry) };
};

const create = (world: ModelWorld, fresh: Decision, inputs: Inputs): Choice => {
  const { model, refusals } = world;
  const number = fresh.lastVersionNumber + 1;
  const name = versionName(model, number);
  const [refusal] = refusals;
  if (refusal !== undefined) {
    const { reason, message } = refusal;
    return {
      decision: { ...withoutRetrain(model, fresh), waiting: { reason, message } },
      effects: [],
      nextMs: tryAgainMs(refusal),
    };
  }
  return {
    decision: { ...fresh, wanted: { name, version: undefined }, lastVersionNumber: number },
    effects: [{ verb: "create", object: versionManifest(model, number, inputs) }],
  };
};

export const versionName = ({ metadata }: DeepModel, number: number): string =>
  `${metadata.name}-v${number}`;

const versionManifest = (model: DeepModel, number: number, inputs: Inputs): Manifest => {
  const { name, namespace, uid } = model.metadata;
  const spec: ModelVersionSpec = { model: { name, uid }, number, ...inputs };
  return {
    apiVersion: API_VERSION,
    kind: "ModelVersion",
    metadata: {
      name: versionName(model, number),
      namespace,
      labels: ownLabels({ [label.model]: name }),
      ownerReferences: [ownerReference("DeepModel", model.metadata)],
    },
    spec,
  };
};

/** Which version is used: the wanted one once it is complete and past the gates, else the one before. */
const withReady = (
  model: DeepModel,
  dataset: Dataset | undefined,
  decision: Decision,
): Decision => {
  const { versions, wanted, resolved } = decision;
  const { gates } = model.spec;
  const before = versions.find(
    (version) => version.metadata.name === model.status?.readyVersion && isComplete(version),
  );
  const candidate = wanted?.version;
  const ready =
    candidate !== undefined && isUsable(gates, candidate)
      ? candidate
      : (before ?? lastUsable(model, versions));
  if (ready === undefined) return decision;
  const stands =
    resolved !== undefined &&
    ready.metadata.name !== wanted?.name &&
    isUsable(gates, ready) &&
    answersForSpec(model, ready, dataset, resolved);
  return { ...decision, ready, ...(stands ? { stand: ready } : {}) };
};

/** Where no choice is recorded: the newest that passes. */
const lastUsable = (
  model: DeepModel,
  versions: readonly ModelVersion[],
): ModelVersion | undefined =>
  versions
    .filter((version) => isUsable(model.spec.gates, version))
    .sort((a, b) => b.spec.number - a.spec.number)[0];
