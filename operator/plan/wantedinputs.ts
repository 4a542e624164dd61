// The training inputs that a DeepModel's spec and its Dataset ask for now, or why there are none.

import { type Base, catalogueBase, isPretrained } from "../../api/bases.ts";
import type { Dataset, DatasetReport } from "../../api/dataset.ts";
import type { DeepModel, Resolved } from "../../api/deepmodel.ts";
import { inputsHash } from "../../api/inputs.ts";
import type { ModelVersion, ModelVersionSpec } from "../../api/modelversion.ts";
import { type ResolvedHyperparameters, resolveHyperparameters } from "../../api/resolve.ts";
import type { TemplateRevision } from "../../api/template.ts";
import { newestRevision, templateRevision } from "../../api/templates.ts";
import { condition, isTrue } from "./conditions.ts";
import type { Problem } from "./specproblem.ts";

/** A version's spec without what makes it one of many. */
export type Inputs = Omit<ModelVersionSpec, "model" | "number">;

export type WantedInputs =
  | { is: "known"; inputs: Inputs; isSettled: boolean; waiting: Problem | undefined }
  /** The Dataset is not there, or has no data yet. */
  | { is: "unknown"; waiting: Problem }
  /** These data cannot train this spec. */
  | { is: "impossible"; problem: Problem };

/** What the spec means before any data are known. */
export interface ResolvedSpec {
  revision: number;
  template: TemplateRevision;
  base: Base;
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
  const base = catalogueBase(spec.base?.name ?? template.bases[0]);
  const given = spec.hyperparameters ?? {};
  const circumstances = { isPretrained: isPretrained(base) };
  const first = resolveHyperparameters(template, given, circumstances);
  const items = data && trainItems(data, spec.concepts, isExclusive(template, first));
  const hyperparameters =
    items === undefined
      ? first
      : resolveHyperparameters(template, given, { ...circumstances, trainItems: items });
  return { revision, template, base, hyperparameters };
};

/** Softmax over the concepts, which is what an embedder learns by, too. */
const isExclusive = (
  { type }: TemplateRevision,
  { effective }: Pick<ResolvedHyperparameters, "effective">,
): boolean => type === "visual-embedder" || effective.logreg === false;

/** Softmax leaves items of other concepts out; logistic regression and detectors keep them as negatives. */
export const trainItems = (
  data: DatasetReport,
  chosen: readonly string[] | undefined,
  isExclusive: boolean,
): number => {
  if (chosen === undefined || !isExclusive) return data.items.train;
  const names = new Set(chosen);
  return data.concepts.reduce((sum, { name, train }) => sum + (names.has(name) ? train : 0), 0);
};

export const wantedInputs = (
  model: DeepModel,
  dataset: Dataset | undefined,
  resolved: ResolvedSpec,
): WantedInputs => {
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
  const concepts = model.spec.concepts ?? data.concepts.map(({ name }) => name);
  const inputs = inputsOf(model, resolved, concepts, {
    name: dataset.metadata.name,
    digest: data.digest,
    splitDigest: data.splitDigest,
  });
  return { is: "known", inputs, isSettled: waiting === undefined, waiting };
};

const inputsOf = (
  { spec }: DeepModel,
  { revision, base, hyperparameters }: ResolvedSpec,
  concepts: string[],
  dataset: ModelVersionSpec["dataset"],
): Inputs => {
  const { id, digest } = base;
  const content = {
    template: spec.template,
    templateRevision: revision,
    hyperparameters: hyperparameters.effective,
    seed: hyperparameters.seed,
    concepts,
    dataset,
    base: { id, ...(digest === undefined ? {} : { digest }) },
  };
  return { inputsHash: inputsHash(content), ...content };
};

/**
 * True where a version was made of what this spec says, whatever the data are now. The one thing that cannot be told
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
  return inputsOf(model, resolved, concepts, spec.dataset).inputsHash === spec.inputsHash;
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

/** What can be said before any Job: the first thing that makes these data useless for this spec. */
const dataProblem = (
  { spec }: DeepModel,
  data: DatasetReport,
  { template, hyperparameters }: ResolvedSpec,
): Problem | undefined => {
  const { effective } = hyperparameters;
  const known = new Map(data.concepts.map((concept) => [concept.name, concept]));
  const chosen = spec.concepts ?? [...known.keys()];
  const missing = chosen.find((name) => !known.has(name));
  if (missing !== undefined) {
    return {
      reason: "ConceptUnknown",
      message: `spec.concepts: Dataset ${spec.datasetRef.name} has no concept ${missing}; it has ${listed([...known.keys()])}`,
    };
  }
  if (chosen.length === 0 || data.items.train === 0) {
    return { reason: "NoData", message: `Dataset ${spec.datasetRef.name} has no training items` };
  }
  if (effective.logreg === false && chosen.length < 2) {
    return {
      reason: "SingleConcept",
      message: `spec.hyperparameters.logreg: false needs two concepts or more, and there is only ${chosen[0]}; set logreg to true, or add concepts`,
    };
  }
  const empty = chosen.filter((name) => known.get(name)?.train === 0);
  if (empty.length > 0) {
    return {
      reason: "NoPositives",
      message: `no training item of Dataset ${spec.datasetRef.name} has the concept ${listed(empty)}; add items, or leave it out of spec.concepts`,
    };
  }
  const items = trainItems(data, spec.concepts, isExclusive(template, hyperparameters));
  return items < effective.batch_size
    ? {
        reason: "BatchLargerThanData",
        message: `spec.hyperparameters.batch_size: ${effective.batch_size} is more than the ${items} training items; at most ${items} is possible`,
      }
    : undefined;
};

const listed = (names: readonly string[]): string =>
  names.length <= 5
    ? names.join(", ")
    : `${names.slice(0, 5).join(", ")} and ${names.length - 5} more`;

const ADVISED_ITEMS = 1000;

/** What may make the model worse, in one line; undefined where nothing does. */
export const dataWarning = (
  { spec }: DeepModel,
  data: DatasetReport | undefined,
  { template, hyperparameters }: ResolvedSpec,
): Problem | undefined => {
  const { effective } = hyperparameters;
  if (data === undefined) return undefined;
  const warnings: Problem[] = [];
  const lonely = withoutNegatives(spec.concepts, data);
  if (lonely !== undefined) warnings.push(lonely);
  const items = trainItems(data, spec.concepts, isExclusive(template, hyperparameters));
  if (items < ADVISED_ITEMS) {
    warnings.push({
      reason: "FewItems",
      message: `${items} training items; at least ${ADVISED_ITEMS} are advised`,
    });
  }
  const hint = smallBatch(
    spec.concepts?.length ?? data.concepts.length,
    effective.batch_size,
    items,
  );
  if (hint !== undefined) warnings.push(hint);
  for (const { reason, message } of data.warnings) {
    if (reason !== "FewItems") warnings.push({ reason, message });
  }
  const [first] = warnings;
  return first && { ...first, message: warnings.map(({ message }) => message).join("; ") };
};

/**
 * One concept alone is learned from what does not show it, and measured on it: where nothing does not, random scores
 * look perfect. (Softmax refuses one concept altogether.)
 */
const withoutNegatives = (
  wanted: readonly string[] | undefined,
  { items, concepts }: DatasetReport,
): Problem | undefined => {
  const [only, ...others] = wanted ?? concepts.map(({ name }) => name);
  const counts = concepts.find(({ name }) => name === only);
  if (counts === undefined || others.length > 0) return undefined;
  const measured = items.test > 0 ? "test" : "validation";
  const isAll = {
    train: counts.train === items.train,
    measured: counts[measured] === items[measured],
  };
  if (!isAll.train && (!isAll.measured || items[measured] === 0)) return undefined;
  const where = !isAll.train ? `${measured} item` : isAll.measured ? "item" : "training item";
  return {
    reason: "SingleConcept",
    message: `every ${where} shows ${only}, the only concept: without others there is nothing to tell it from, and metrics mean nothing; add another concept's items, and name ${only} alone in spec.concepts`,
  };
};

const LARGEST_BATCH = 1024;

/** A step that sees fewer images than there are concepts teaches most of them by their absence alone. */
const smallBatch = (concepts: number, batchSize: number, items: number): Problem | undefined => {
  const advised = Math.min(2 * concepts, LARGEST_BATCH, items);
  return concepts > batchSize && advised > batchSize
    ? {
        reason: "BatchSmallerThanConcepts",
        message: `spec.hyperparameters.batch_size: ${batchSize} is less than the ${concepts} concepts; about ${advised} is advised`,
      }
    : undefined;
};

/** `status.resolved`. */
export const resolvedStatus = (
  model: DeepModel,
  { revision, base, hyperparameters }: ResolvedSpec,
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
    base: base.id,
    ...(concepts === undefined ? {} : { concepts }),
  };
};
