// The training inputs that a DeepModel's spec and its Dataset ask for now, or why there are none.

import type { Dataset, DatasetReport } from "../../api/dataset.ts";
import type { DeepModel, Resolved } from "../../api/deepmodel.ts";
import { inputsHash } from "../../api/inputs.ts";
import type { ModelVersion, ModelVersionSpec } from "../../api/modelversion.ts";
import { type ResolvedHyperparameters, resolveHyperparameters } from "../../api/resolve.ts";
import type { TemplateRevision } from "../../api/template.ts";
import { newestRevision, templateRevision } from "../../api/templates.ts";
import { baseOfVersion, beginsPretrained, type WantedBase } from "./base.ts";
import { condition, isTrue } from "./conditions.ts";
import { dataProblem, isExclusive, trainItems } from "./dataproblem.ts";
import type { Problem } from "./specproblem.ts";

/** A version's spec without what makes it one of many. */
export type Inputs = Omit<ModelVersionSpec, "model" | "number">;

/** What can change outside a model's spec. */
export type Change = "data" | "base";

/** Why a part is about to change; undefined: it is settled. */
export type Unsettled = Readonly<Record<Change, Problem | undefined>>;

export type WantedInputs =
  | { is: "known"; inputs: Inputs; unsettled: Unsettled }
  /** The Dataset or the base is not there, or not ready yet. */
  | { is: "unknown"; waiting: Problem }
  /** These data cannot train this spec, or the base cannot be its base. */
  | { is: "impossible"; problem: Problem };

/** What the spec means before any data are known. */
export interface ResolvedSpec {
  revision: number;
  template: TemplateRevision;
  hyperparameters: ResolvedHyperparameters;
}

/** A model stays at its newest version's revision until its user sets another. Undefined: there is no such revision. */
export const resolveSpec = (
  { spec }: DeepModel,
  versions: readonly ModelVersion[],
  data: DatasetReport | undefined,
): ResolvedSpec | undefined => {
  const newest = versions
    .filter((version) => version.spec.template === spec.template)
    .reduce<ModelVersion | undefined>(
      (best, each) => (best !== undefined && best.spec.number > each.spec.number ? best : each),
      undefined,
    );
  const revision =
    spec.templateRevision ?? newest?.spec.templateRevision ?? newestRevision(spec.template);
  const template = templateRevision(spec.template, revision);
  if (template === undefined) return undefined;
  const given = spec.hyperparameters ?? {};
  const circumstances = { isPretrained: beginsPretrained(spec, template) };
  const first = resolveHyperparameters(template, given, circumstances);
  const items = data && trainItems(data, spec.concepts, isExclusive(template, first));
  const hyperparameters =
    items === undefined
      ? first
      : resolveHyperparameters(template, given, { ...circumstances, trainItems: items });
  return { revision, template, hyperparameters };
};

export const wantedInputs = (
  model: DeepModel,
  dataset: Dataset | undefined,
  resolved: ResolvedSpec,
  base: WantedBase,
): WantedInputs => {
  if (base.is === "impossible") return base;
  const waiting = datasetWaiting(model, dataset);
  const data = dataset?.status?.data;
  if (dataset === undefined || data === undefined) {
    return { is: "unknown", waiting: waiting ?? notReady(model, "it has no data yet") };
  }
  const problem = dataProblem(model, data, resolved);
  if (problem !== undefined) {
    // Data that are about to be replaced prove nothing about the spec.
    return waiting === undefined ? { is: "impossible", problem } : { is: "unknown", waiting };
  }
  if (base.is === "unknown") return { is: "unknown", waiting: waiting ?? base.waiting };
  const inputs = inputsOf(model, resolved, {
    concepts: model.spec.concepts ?? data.concepts.map(({ name }) => name),
    dataset: {
      name: dataset.metadata.name,
      digest: data.digest,
      splitDigest: data.splitDigest,
    },
    base: base.base,
  });
  return { is: "known", inputs, unsettled: { data: waiting, base: base.waiting } };
};

const inputsOf = (
  { spec }: DeepModel,
  { revision, hyperparameters }: ResolvedSpec,
  found: Pick<Inputs, "concepts" | "dataset" | "base">,
): Inputs => {
  const content = {
    template: spec.template,
    templateRevision: revision,
    hyperparameters: hyperparameters.effective,
    seed: hyperparameters.seed,
    ...found,
  };
  return { inputsHash: inputsHash(content), ...content };
};

/**
 * True where a version was made of what this spec says, whatever the data and the base are now. The one thing that cannot be told
 * is a subset of concepts that was removed from the spec in the same moment in which the data changed.
 */
export const answersForSpec = (
  model: DeepModel,
  version: ModelVersion,
  dataset: Dataset | undefined,
  resolved: ResolvedSpec,
): boolean => {
  const { spec } = version;
  if (spec.dataset.name !== model.spec.datasetRef.name) return false;
  const data = dataset?.status?.data;
  const concepts =
    model.spec.concepts ??
    (data?.digest === spec.dataset.digest ? data.concepts.map(({ name }) => name) : spec.concepts);
  const base = baseOfVersion(model, resolved.template, version);
  if (base === undefined) return false;
  const { dataset: made } = spec;
  return (
    inputsOf(model, resolved, { concepts, dataset: made, base }).inputsHash === spec.inputsHash
  );
};

const datasetWaiting = (model: DeepModel, dataset: Dataset | undefined): Problem | undefined => {
  const { name } = model.spec.datasetRef;
  if (dataset === undefined || dataset.metadata.deletionTimestamp !== undefined) {
    return {
      reason: "DatasetNotFound",
      message: `spec.datasetRef.name: there is no Dataset ${name} in this namespace; waiting for it`,
    };
  }
  const { status, metadata } = dataset;
  const isCurrent = status?.observedGeneration === (metadata.generation ?? 0);
  const ready = condition(status, "Ready");
  if (isCurrent && isTrue(status, "Stalled")) {
    return {
      reason: "DatasetFailed",
      message: `Dataset ${name} failed: ${ready?.reason ?? "Stalled"}: ${ready?.message ?? ""}`,
    };
  }
  if (isCurrent && ready?.status === "True" && !isTrue(status, "Reconciling")) return undefined;
  return notReady(model, ready === undefined ? "it has not been looked at yet" : ready.reason);
};

const notReady = (model: DeepModel, why: string): Problem => ({
  reason: "DatasetNotReady",
  message: `Dataset ${model.spec.datasetRef.name} is not ready: ${why}`,
});

/** `status.resolved`. */
export const resolvedStatus = (
  model: DeepModel,
  { revision, hyperparameters }: ResolvedSpec,
  base: Resolved["base"],
  data: DatasetReport | undefined,
): Resolved => {
  const newest = newestRevision(model.spec.template);
  const { origins, optimizer, dropEpochs, stepsPerEpoch, totalSteps } = hyperparameters;
  const concepts = model.spec.concepts?.length ?? data?.concepts.length;
  return {
    templateRevision: revision,
    ...(newest > revision ? { newerTemplateRevision: newest } : {}),
    hyperparameters: origins,
    optimizer,
    dropEpochs,
    ...(stepsPerEpoch === undefined ? {} : { stepsPerEpoch }),
    ...(totalSteps === undefined ? {} : { totalSteps }),
    base,
    ...(concepts === undefined ? {} : { concepts }),
  };
};
