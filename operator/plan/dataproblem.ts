// What can be said of data before any Job: what makes them useless for a spec, and what may make the model worse.

import type { DatasetReport, SplitCounts } from "../../api/dataset.ts";
import type { DeepModel } from "../../api/deepmodel.ts";
import type { ResolvedHyperparameters } from "../../api/resolve.ts";
import type { TemplateRevision } from "../../api/template.ts";
import { listed } from "./display.ts";
import { gateWarnings } from "./gatewarning.ts";
import { processesOf } from "./placement.ts";
import type { Problem } from "./specproblem.ts";
import type { ResolvedSpec } from "./wantedinputs.ts";

/** Softmax over the concepts, which is what an embedder learns by, too. */
export const isExclusive = (
  { type }: TemplateRevision,
  { effective }: Pick<ResolvedHyperparameters, "effective">,
): boolean => type === "visual-embedder" || effective.logreg === false;

/** Of the chosen concepts, or of all. An item counts for each one that it shows. */
const itemsOfConcepts = (
  { concepts }: DatasetReport,
  chosen: readonly string[] | undefined,
  split: keyof SplitCounts,
): number => {
  const names = chosen && new Set(chosen);
  const counted = names === undefined ? concepts : concepts.filter(({ name }) => names.has(name));
  return counted.reduce((sum, counts) => sum + counts[split], 0);
};

/** Softmax leaves out items of none of the concepts; logistic regression and detectors keep them as negatives. */
export const trainItems = (
  data: DatasetReport,
  chosen: readonly string[] | undefined,
  isExclusive: boolean,
): number => (isExclusive ? itemsOfConcepts(data, chosen, "train") : data.items.train);

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
    return {
      reason: "NoData",
      message: `spec.datasetRef.name: Dataset ${spec.datasetRef.name} has no training items; add some, divide it anew with spec.splits.ratios of the Dataset, or name another one`,
    };
  }
  const notExclusive = isExclusive(template, hyperparameters)
    ? (singleConcept(spec, template, data) ?? overlap(spec, template, data))
    : undefined;
  if (notExclusive !== undefined) return notExclusive;
  const boxes = template.type === "visual-detector" ? noBoxes(spec, data) : undefined;
  if (boxes !== undefined) return boxes;
  const empty = chosen.filter((name) => known.get(name)?.train === 0);
  if (empty.length > 0) {
    return {
      reason: "NoPositives",
      message:
        spec.concepts === undefined
          ? `spec.datasetRef.name: no training item of Dataset ${spec.datasetRef.name} shows ${listed(empty)}; add items that do, or name the other concepts in spec.concepts`
          : `spec.concepts: no training item of Dataset ${spec.datasetRef.name} shows ${listed(empty)}; add items that do, or leave it out`,
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

const singleConcept = (
  { concepts, datasetRef }: DeepModel["spec"],
  { type }: TemplateRevision,
  data: DatasetReport,
): Problem | undefined => {
  const found = data.concepts.map(({ name }) => name);
  const [only, ...others] = concepts ?? found;
  if (others.length > 0) return undefined;
  const isChosen = found.length > 1;
  const field = isChosen ? "spec.concepts" : "spec.datasetRef.name";
  const more = isChosen
    ? "name others, too"
    : `add items of other concepts to Dataset ${datasetRef.name}`;
  return {
    reason: "SingleConcept",
    message:
      type === "visual-embedder"
        ? `${field}: an embedder learns what tells concepts apart, and there is only ${only}; ${more}`
        : `spec.hyperparameters.logreg: false needs two concepts or more, and there is only ${only}; set it to true, or ${isChosen ? "name others in spec.concepts" : more}`,
  };
};

const splits = ["train", "validation", "test"] as const;

/** Sure where the concepts' items are more than all items. Where only some items show several, the training finds them. */
const overlap = (
  { concepts, datasetRef }: DeepModel["spec"],
  { type }: TemplateRevision,
  data: DatasetReport,
): Problem | undefined => {
  const split = splits.find((each) => itemsOfConcepts(data, concepts, each) > data.items[each]);
  if (split === undefined) return undefined;
  const some = `some ${split} items of Dataset ${datasetRef.name} show several`;
  return {
    reason: "ConceptsOverlap",
    message:
      type === "visual-embedder"
        ? `spec.concepts: an embedder needs items that show one concept each, but ${some}; name concepts that exclude one another`
        : `spec.hyperparameters.logreg: false needs exactly one concept for each item, but ${some}; set it to true, or name concepts in spec.concepts that exclude one another`,
  };
};

const noBoxes = (
  { datasetRef, template }: DeepModel["spec"],
  { boxes }: DatasetReport,
): Problem | undefined =>
  boxes !== undefined && boxes.train > 0
    ? undefined
    : {
        reason: "NoBoxes",
        message: `spec.datasetRef.name: Dataset ${datasetRef.name} has no boxes${boxes === undefined ? "" : " in its train split"}, from which a ${template} learns; import it in a format that has them (coco, voc, yolo, or csv with a row for each box), or train a visual-classifier`,
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
  const warnings = gateWarnings(spec, data, template, hyperparameters);
  const lonely = learnsBoxes(template) ? undefined : withoutNegatives(spec.concepts, data);
  if (lonely !== undefined) warnings.push(lonely);
  const exclusive = isExclusive(template, hyperparameters);
  const items = trainItems(data, spec.concepts, exclusive);
  const few = fewItems(template, spec.concepts, data, items);
  if (few !== undefined) warnings.push(few);
  const hint = smallBatch(
    spec.concepts?.length ?? data.concepts.length,
    effective.batch_size,
    Math.min(items, template.maxBatchSize),
  );
  if (hint !== undefined) warnings.push(hint);
  for (const { reason, message } of data.warnings) {
    // Where one concept excludes the others, each that is shown says that they are not.
    const isMet = reason === "FewItems" || (reason === "NoNegatives" && exclusive);
    if (!isMet) warnings.push({ reason, message });
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
