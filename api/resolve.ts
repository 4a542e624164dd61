// From what a user wrote to what is trained: defaults filled in, the learning-rate spellings collapsed to one.

import { significant } from "./canonical.ts";
import type { Resolved } from "./deepmodel.ts";
import {
  defaultsOfAll,
  type EffectiveHyperparameters,
  type Hyperparameters,
  hasHyperparameter,
  type TypedHyperparameter,
  typedHyperparameters,
} from "./hyperparameters.ts";
import type { Defaults, TemplateRevision, TemplateType } from "./template.ts";

export interface ResolvedHyperparameters {
  /** What the trainer is told; numbers rounded to 12 significant digits, as they are hashed. */
  effective: EffectiveHyperparameters;
  /** Of detectors: told to the trainer beside, and not hashed. */
  detectionScoreThreshold?: number;
  seed: number;
  /** The same values, each with its origin, for status.resolved. */
  origins: Resolved["hyperparameters"];
  optimizer: string;
  /** Epochs after which the learning rate drops, before the last one; the first 20. */
  dropEpochs: number[];
  /** Absent while the number of training items is not known and num_items_per_epoch is 0. */
  stepsPerEpoch?: number;
  totalSteps?: number;
}

type Origin = "given" | "default";

/** Default of init_epochs: 25/65 of num_epochs, at least 1. */
export const defaultInitEpochs = (numEpochs: number): number =>
  Math.max(1, Math.round((numEpochs * 25) / 65));

/** Default of step_epochs: 7/65 of num_epochs, at least 1. */
export const defaultStepEpochs = (numEpochs: number): number =>
  Math.max(1, Math.round((numEpochs * 7) / 65));

/** Younger than the first versions, whose hashes stay what they are: told and hashed only where they are not the template's. */
const younger = [
  "early_stop_epochs",
  "lrate_decay",
  "label_smoothing",
  "embeddings_size",
  "angular_margin",
  "angular_scale",
  "weight_decay",
] as const satisfies (keyof typeof defaultsOfAll | "weight_decay")[];

const effectiveLearningRate = (
  { rate: { spelling, value } }: Defaults,
  given: Hyperparameters,
  batchSize: number,
): { value: number; source: Origin } => {
  const written = spellings.find((name) => given[name] !== undefined);
  const rate = laidOut(written ?? spelling, (written && given[written]) ?? value, batchSize);
  return {
    // A product of tiny numbers may round to 0, which is not a learning rate.
    value: Math.max(significant(rate), Number.MIN_VALUE),
    source: written === undefined ? "default" : "given",
  };
};

const spellings = ["lrate", "per_item_lrate", "per_128_lrate"] as const;

const laidOut = (spelling: (typeof spellings)[number], value: number, batchSize: number): number =>
  spelling === "lrate"
    ? value
    : value * (spelling === "per_item_lrate" ? batchSize : batchSize / 128);

const dropEpochs = (hyperparameters: EffectiveHyperparameters): number[] => {
  const { init_epochs, step_epochs, num_epochs } = hyperparameters;
  if (init_epochs === undefined || step_epochs === undefined) return [];
  const epochs: number[] = [];
  for (let e = init_epochs; e < num_epochs && epochs.length < 20; e += step_epochs) epochs.push(e);
  return epochs;
};

/** What is known of a run beside the template and the hyperparameters that were written. */
export interface Circumstances {
  /** The weights begin trained, not at random. */
  isPretrained: boolean;
  /** Items that an epoch passes over when num_items_per_epoch is 0: the train split's size, of the chosen concepts. */
  trainItems?: number;
}

/** Total: it resolves whatever the schema lets through, and judges nothing (see `validate.ts`). */
export const resolveHyperparameters = (
  revision: TemplateRevision,
  given: Hyperparameters,
  { isPretrained, trainItems }: Circumstances,
): ResolvedHyperparameters => {
  const defaults = isPretrained ? revision.pretrained : revision.scratch;
  const origins = originsOf(revision, defaults, given);
  const effective = effectiveValues(revision.type, origins, defaults);
  const written = effective.num_items_per_epoch ?? 0;
  const items = written > 0 ? written : trainItems;
  const stepsPerEpoch = items === undefined ? undefined : stepsOf(revision.type, items, effective);
  return {
    effective,
    ...(origins.detection_score_threshold === undefined
      ? {}
      : { detectionScoreThreshold: origins.detection_score_threshold.value }),
    seed: origins.seed.value,
    origins,
    optimizer: defaults.optimizer,
    dropEpochs: dropEpochs(effective),
    ...(stepsPerEpoch === undefined
      ? {}
      : { stepsPerEpoch, totalSteps: stepsPerEpoch * effective.num_epochs }),
  };
};

/** A head alone is trained on so few items as there are; a whole network refuses a batch that is larger. */
const stepsOf = (
  type: TemplateType,
  items: number,
  { batch_size }: EffectiveHyperparameters,
): number =>
  Math.ceil(
    items /
      (type === "context-based-classifier" ? Math.max(1, Math.min(batch_size, items)) : batch_size),
  );

type Origins = Resolved["hyperparameters"];
type Booleans = "average_horizontal_flips" | "logreg" | "use_perclass_regression";
type Numbers = Exclude<keyof Origins, Booleans | "lrate" | "lrate_schedule">;

/** Each value with where it came from; those that the type does not have are left out. */
const originsOf = (
  { type }: TemplateRevision,
  defaults: Defaults,
  given: Hyperparameters,
): Origins => {
  const numEpochs = given.num_epochs ?? defaults.hyperparameters.num_epochs;
  const filled = {
    ...defaults.hyperparameters,
    init_epochs: Math.min(defaultInitEpochs(numEpochs), numEpochs),
    step_epochs: defaultStepEpochs(numEpochs),
    ...defaultsOfAll,
  };
  const number = (name: Numbers) => {
    const value = given[name];
    return value === undefined
      ? { value: filled[name] ?? 0, source: "default" as const }
      : { value: significant(value), source: "given" as const };
  };
  const boolean = (name: Booleans) => ({
    value: given[name] ?? filled[name] ?? false,
    source: given[name] === undefined ? ("default" as const) : ("given" as const),
  });
  const schedule = {
    value: given.lrate_schedule ?? filled.lrate_schedule ?? ("step" as const),
    source: given.lrate_schedule === undefined ? ("default" as const) : ("given" as const),
  };
  const ofSomeTypes = {
    average_horizontal_flips: boolean("average_horizontal_flips"),
    base_gradient_multiplier: number("base_gradient_multiplier"),
    detection_score_threshold: number("detection_score_threshold"),
    image_size: number("image_size"),
    ...(schedule.value === "cosine"
      ? {}
      : {
          init_epochs: number("init_epochs"),
          step_epochs: number("step_epochs"),
          lrate_decay: number("lrate_decay"),
        }),
    lrate_schedule: schedule,
    logreg: boolean("logreg"),
    label_smoothing: number("label_smoothing"),
    num_items_per_epoch: number("num_items_per_epoch"),
    test_freq: number("test_freq"),
    early_stop_epochs: number("early_stop_epochs"),
    use_perclass_regression: boolean("use_perclass_regression"),
    embeddings_size: number("embeddings_size"),
    angular_margin: number("angular_margin"),
    angular_scale: number("angular_scale"),
  };
  const batchSize = number("batch_size");
  return {
    ...ofType(type, ofSomeTypes),
    batch_size: batchSize,
    lrate: effectiveLearningRate(defaults, given, batchSize.value),
    num_epochs: number("num_epochs"),
    weight_decay: number("weight_decay"),
    seed: number("seed"),
  };
};

/** Of these values, those that the type has. */
const ofType = <T extends Partial<Record<TypedHyperparameter, unknown>>>(
  type: TemplateType,
  values: T,
): Partial<T> => {
  const kept: Partial<T> = {};
  for (const name of typedHyperparameters) {
    if (hasHyperparameter(type, name) && name in values) kept[name] = values[name];
  }
  return kept;
};

const effectiveValues = (
  type: TemplateType,
  origins: Origins,
  defaults: Defaults,
): EffectiveHyperparameters => ({
  ...ofType(type, {
    average_horizontal_flips: origins.average_horizontal_flips?.value ?? false,
    base_gradient_multiplier: origins.base_gradient_multiplier?.value ?? 0,
    image_size: origins.image_size?.value ?? 0,
    ...(origins.lrate_schedule?.value === "cosine"
      ? {}
      : {
          init_epochs: origins.init_epochs?.value ?? 0,
          step_epochs: origins.step_epochs?.value ?? 0,
        }),
    logreg: origins.logreg?.value ?? false,
    num_items_per_epoch: origins.num_items_per_epoch?.value ?? 0,
    test_freq: origins.test_freq?.value ?? 0,
    use_perclass_regression: origins.use_perclass_regression?.value ?? false,
  }),
  batch_size: origins.batch_size.value,
  lrate: origins.lrate.value,
  num_epochs: origins.num_epochs.value,
  ...besideDefault(origins, defaults),
});

const besideDefault = (
  origins: Origins,
  { hyperparameters }: Defaults,
): Pick<EffectiveHyperparameters, "lrate_schedule" | (typeof younger)[number]> => {
  const defaults = { ...hyperparameters, ...defaultsOfAll };
  const told: Partial<Record<(typeof younger)[number], number>> = {};
  for (const name of younger) {
    const value = origins[name]?.value;
    if (value !== undefined && value !== defaults[name]) told[name] = value;
  }
  return {
    ...told,
    ...(origins.lrate_schedule?.value === "cosine" ? { lrate_schedule: "cosine" } : {}),
  };
};
