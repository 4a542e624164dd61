// What can be said of data before any Job: what makes them useless for a spec, and what may make the model worse.

import type { DatasetReport } from "../../api/dataset.ts";
import type { DeepModel } from "../../api/deepmodel.ts";
import type { ResolvedHyperparameters } from "../../api/resolve.ts";
import type { TemplateRevision } from "../../api/template.ts";
import { processesOf } from "./placement.ts";
import type { Problem } from "./specproblem.ts";
import type { ResolvedSpec } from "./wantedinputs.ts";

/** Softmax over the concepts, which is what an embedder learns by, too. */
export const isExclusive = (
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

/** What makes the resources useless for the batch. */
const batchProblem = (
  { resources }: DeepModel["spec"],
  { type }: TemplateRevision,
  batchSize: number,
): Problem | undefined => {
  const processes = processesOf(resources);
  if (processes > 1 && type === "context-based-classifier") {
    return {
      reason: "HyperparameterInvalid",
      message: `spec.resources: a ${type} trains in one process, not in ${processes}; set nodes to 1 and gpus to at most 1`,
    };
  }
  const rest = batchSize % processes;
  if (rest === 0) return undefined;
  const nearest = [batchSize - rest, batchSize - rest + processes].filter((size) => size > 0);
  return {
    reason: "BatchNotDivisible",
    message: `spec.hyperparameters.batch_size: ${batchSize} cannot be shared evenly by ${processes} processes (gpus x nodes); set it to ${nearest.join(" or ")}`,
  };
};

/** The first thing that makes these data useless for this spec. */
export const dataProblem = (
  { spec }: DeepModel,
  data: DatasetReport,
  { template, hyperparameters }: ResolvedSpec,
): Problem | undefined => {
  const { effective } = hyperparameters;
  const batch = batchProblem(spec, template, effective.batch_size);
  if (batch !== undefined) return batch;
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
  if (isExclusive(template, hyperparameters) && chosen.length < 2) {
    return singleConcept(template, chosen[0]);
  }
  const boxes = template.type === "visual-detector" ? noBoxes(spec, data) : undefined;
  if (boxes !== undefined) return boxes;
  const empty = chosen.filter((name) => known.get(name)?.train === 0);
  if (empty.length > 0) {
    return {
      reason: "NoPositives",
      message: `no training item of Dataset ${spec.datasetRef.name} has the concept ${listed(empty)}; add items, or leave it out of spec.concepts`,
    };
  }
  const items = trainItems(data, spec.concepts, isExclusive(template, hyperparameters));
  // A head takes the items that there are.
  if (items < effective.batch_size && template.type !== "context-based-classifier") {
    return {
      reason: "BatchLargerThanData",
      message: `spec.hyperparameters.batch_size: ${effective.batch_size} is more than the ${items} training items; at most ${items} is possible`,
    };
  }
  return effective.use_perclass_regression === true
    ? tooManyRegressors(template, chosen.length)
    : undefined;
};

const singleConcept = ({ type }: TemplateRevision, only: string | undefined): Problem => ({
  reason: "SingleConcept",
  message:
    type === "visual-embedder"
      ? `spec.datasetRef.name: an embedder learns what tells concepts apart, and there is only ${only}; add items of other concepts`
      : `spec.hyperparameters.logreg: false needs two concepts or more, and there is only ${only}; set logreg to true, or add concepts`,
});

const noBoxes = (
  { datasetRef, template }: DeepModel["spec"],
  { boxes }: DatasetReport,
): Problem | undefined =>
  boxes !== undefined && boxes.train > 0
    ? undefined
    : {
        reason: "NoBoxes",
        message: `spec.datasetRef.name: Dataset ${datasetRef.name} has no boxes${boxes === undefined ? "" : " in its train split"}, from which a ${template} learns; import it in a format that has them (coco, voc, yolo), or train a visual-classifier`,
      };

/** A head that wide would be larger than the network below it. */
const MOST_REGRESSORS = 8192;

const tooManyRegressors = (
  { anchorsPerCell = 1 }: TemplateRevision,
  concepts: number,
): Problem | undefined =>
  anchorsPerCell * 4 * concepts <= MOST_REGRESSORS
    ? undefined
    : {
        reason: "HyperparameterInvalid",
        message: `spec.hyperparameters.use_perclass_regression: ${anchorsPerCell} anchors x 4 x ${concepts} concepts is more than ${MOST_REGRESSORS}; set it to false, or name at most ${Math.floor(MOST_REGRESSORS / (4 * anchorsPerCell))} concepts in spec.concepts`,
      };

const listed = (names: readonly string[]): string =>
  names.length <= 5
    ? names.join(", ")
    : `${names.slice(0, 5).join(", ")} and ${names.length - 5} more`;

const ADVISED_ITEMS = 1000;
/** Of a head alone. */
const ADVISED_ITEMS_PER_CONCEPT = 10;

/** What shows none of its concepts is background to a detector. */
const learnsBoxes = ({ type }: TemplateRevision): boolean => type === "visual-detector";

const fewItems = (
  { type }: TemplateRevision,
  chosen: readonly string[] | undefined,
  { concepts }: DatasetReport,
  items: number,
): Problem | undefined => {
  if (type !== "context-based-classifier") {
    return items < ADVISED_ITEMS
      ? {
          reason: "FewItems",
          message: `${items} training items; at least ${ADVISED_ITEMS} are advised`,
        }
      : undefined;
  }
  const few = concepts.filter(
    ({ name, train }) =>
      train < ADVISED_ITEMS_PER_CONCEPT && (chosen === undefined || chosen.includes(name)),
  );
  return few.length === 0
    ? undefined
    : {
        reason: "FewItems",
        message: `fewer than ${ADVISED_ITEMS_PER_CONCEPT} training items, which are advised, of ${listed(few.map(({ name, train }) => `${name} (${train})`))}`,
      };
};

/** What may make the model worse, in one line; undefined where nothing does. */
export const dataWarning = (
  { spec }: DeepModel,
  data: DatasetReport | undefined,
  { template, hyperparameters }: ResolvedSpec,
): Problem | undefined => {
  const { effective } = hyperparameters;
  if (data === undefined) return undefined;
  const warnings: Problem[] = [];
  const blind = gateOnNothing(spec, data);
  if (blind !== undefined) warnings.push(blind);
  const lonely = learnsBoxes(template) ? undefined : withoutNegatives(spec.concepts, data);
  if (lonely !== undefined) warnings.push(lonely);
  const items = trainItems(data, spec.concepts, isExclusive(template, hyperparameters));
  const few = fewItems(template, spec.concepts, data, items);
  if (few !== undefined) warnings.push(few);
  const hint = smallBatch(
    spec.concepts?.length ?? data.concepts.length,
    effective.batch_size,
    Math.min(items, template.maxBatchSize),
  );
  if (hint !== undefined) warnings.push(hint);
  for (const { reason, message } of data.warnings) {
    if (reason !== "FewItems") warnings.push({ reason, message });
  }
  const [first] = warnings;
  return first && { ...first, message: warnings.map(({ message }) => message).join("; ") };
};

/** Said at once: only what is gated when a training begins is sure to be recorded. */
const gateOnNothing = (
  { gates, concepts, datasetRef }: DeepModel["spec"],
  data: DatasetReport,
): Problem | undefined => {
  const chosen = concepts ?? data.concepts.map(({ name }) => name);
  const index = (gates ?? []).findIndex(
    ({ concept }) => concept !== undefined && !chosen.includes(concept),
  );
  const concept = gates?.[index]?.concept;
  return concept === undefined
    ? undefined
    : {
        reason: "ConceptUnknown",
        message: `spec.gates[${index}].concept: Dataset ${datasetRef.name} has no concept ${concept}, so no version can meet the gate; name one of ${listed(chosen)}`,
      };
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

/** A step that sees fewer images than there are concepts teaches most of them by their absence alone. */
const smallBatch = (concepts: number, batchSize: number, most: number): Problem | undefined => {
  const advised = Math.min(2 * concepts, most);
  return concepts > batchSize && advised > batchSize
    ? {
        reason: "BatchSmallerThanConcepts",
        message: `spec.hyperparameters.batch_size: ${batchSize} is less than the ${concepts} concepts; about ${advised} is advised`,
      }
    : undefined;
};
