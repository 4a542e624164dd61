// From what a user wrote to what is trained: defaults filled in, the learning-rate spellings collapsed to one.

import { significant } from "./canonical.ts";
import type { Resolved } from "./deepmodel.ts";
import type { EffectiveHyperparameters, Hyperparameters } from "./hyperparameters.ts";
import type { TemplateRevision } from "./templates.ts";

export interface ResolvedHyperparameters {
  /** What the trainer is told; numbers rounded to 12 significant digits, as they are hashed. */
  effective: EffectiveHyperparameters;
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

const effectiveLearningRate = (
  revision: TemplateRevision,
  given: Hyperparameters,
  batchSize: number,
): { value: number; source: Origin } => {
  const [rate, source]: [number, Origin] =
    given.lrate !== undefined
      ? [given.lrate, "given"]
      : given.per_item_lrate !== undefined
        ? [given.per_item_lrate * batchSize, "given"]
        : given.per_128_lrate !== undefined
          ? [given.per_128_lrate * (batchSize / 128), "given"]
          : [revision.per_item_lrate * batchSize, "default"];
  // A product of tiny numbers may round to 0, which is not a learning rate.
  return { value: Math.max(significant(rate), Number.MIN_VALUE), source };
};

const dropEpochs = (hyperparameters: EffectiveHyperparameters): number[] => {
  const { init_epochs, step_epochs, num_epochs } = hyperparameters;
  const epochs: number[] = [];
  for (let e = init_epochs; e < num_epochs && epochs.length < 20; e += step_epochs) epochs.push(e);
  return epochs;
};

/**
 * Total: it resolves whatever the schema lets through, and judges nothing (see `validate.ts`).
 *
 * @param trainItems items that an epoch passes over when num_items_per_epoch is 0: the train split's size, of the
 * chosen concepts.
 */
export const resolveHyperparameters = (
  revision: TemplateRevision,
  given: Hyperparameters = {},
  trainItems?: number,
): ResolvedHyperparameters => {
  const defaults = revision.defaults;
  const numEpochs = given.num_epochs ?? defaults.num_epochs;
  const filled = {
    ...defaults,
    init_epochs: Math.min(defaultInitEpochs(numEpochs), numEpochs),
    step_epochs: defaultStepEpochs(numEpochs),
  };
  const number = (name: NumberName) => {
    const value = given[name];
    return value === undefined
      ? { value: filled[name], source: "default" as const }
      : { value: significant(value), source: "given" as const };
  };
  const boolean = (name: BooleanName) => ({
    value: given[name] ?? filled[name],
    source: given[name] === undefined ? ("default" as const) : ("given" as const),
  });
  const origins: Resolved["hyperparameters"] = {
    average_horizontal_flips: boolean("average_horizontal_flips"),
    base_gradient_multiplier: number("base_gradient_multiplier"),
    batch_size: number("batch_size"),
    image_size: number("image_size"),
    init_epochs: number("init_epochs"),
    step_epochs: number("step_epochs"),
    logreg: boolean("logreg"),
    lrate: effectiveLearningRate(revision, given, given.batch_size ?? defaults.batch_size),
    num_epochs: number("num_epochs"),
    num_items_per_epoch: number("num_items_per_epoch"),
    test_freq: number("test_freq"),
    seed: number("seed"),
  };
  const effective = effectiveValues(origins);
  const items = effective.num_items_per_epoch > 0 ? effective.num_items_per_epoch : trainItems;
  const stepsPerEpoch = items === undefined ? undefined : Math.ceil(items / effective.batch_size);
  return {
    effective,
    seed: origins.seed.value,
    origins,
    optimizer: revision.optimizer,
    dropEpochs: dropEpochs(effective),
    ...(stepsPerEpoch === undefined
      ? {}
      : { stepsPerEpoch, totalSteps: stepsPerEpoch * effective.num_epochs }),
  };
};

type BooleanName = "average_horizontal_flips" | "logreg";
type NumberName = Exclude<keyof Resolved["hyperparameters"], BooleanName | "lrate">;

const effectiveValues = (origins: Resolved["hyperparameters"]): EffectiveHyperparameters => ({
  average_horizontal_flips: origins.average_horizontal_flips.value,
  base_gradient_multiplier: origins.base_gradient_multiplier.value,
  batch_size: origins.batch_size.value,
  image_size: origins.image_size.value,
  init_epochs: origins.init_epochs.value,
  step_epochs: origins.step_epochs.value,
  logreg: origins.logreg.value,
  lrate: origins.lrate.value,
  num_epochs: origins.num_epochs.value,
  num_items_per_epoch: origins.num_items_per_epoch.value,
  test_freq: origins.test_freq.value,
});
