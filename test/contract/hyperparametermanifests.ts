// DeepModels by their hyperparameters, valid and invalid.

import { type ManifestCase, model, type Values } from "./manifest.ts";

const lite = "visual-classifier/efficientnet-lite0";

const tuned = (hyperparameters: Values, template?: string) =>
  model({ ...(template === undefined ? {} : { template }), hyperparameters });
const refusedHyperparameter = (
  name: string,
  hyperparameters: Values,
  field: string,
  template?: string,
): ManifestCase => ({
  name,
  manifest: tuned(hyperparameters, template),
  refused: `spec.hyperparameters.${field}`,
});

export const acceptedHyperparameters: ManifestCase[] = [
  { name: "no hyperparameter in the map", manifest: tuned({}) },
  { name: "fewer epochs than the default first drop", manifest: tuned({ num_epochs: 10 }) },
  { name: "first drop at the last epoch", manifest: tuned({ num_epochs: 10, init_epochs: 10 }) },
  { name: "first drop at the default's last epoch", manifest: tuned({ init_epochs: 65 }) },
  { name: "evaluation at the last epoch only", manifest: tuned({ num_epochs: 3, test_freq: 3 }) },
  { name: "one learning rate, per item", manifest: tuned({ per_item_lrate: 0.001 }) },
  { name: "one learning rate, per 128", manifest: tuned({ per_128_lrate: 1 }) },
  { name: "frozen base", manifest: tuned({ base_gradient_multiplier: 0 }, lite) },
  { name: "a cosine", manifest: tuned({ lrate_schedule: "cosine", num_epochs: 3, test_freq: 3 }) },
  { name: "drops that are called so", manifest: tuned({ lrate_schedule: "step", step_epochs: 1 }) },
  { name: "an early stop", manifest: tuned({ early_stop_epochs: 5, num_epochs: 3, test_freq: 1 }) },
  { name: "no early stop", manifest: tuned({ early_stop_epochs: 0 }) },
  { name: "a rate that never falls", manifest: tuned({ lrate_decay: 1 }) },
  { name: "drops to next to nothing", manifest: tuned({ lrate_decay: 1e-6, init_epochs: 2 }) },
  { name: "smoothed labels", manifest: tuned({ label_smoothing: 0.1, logreg: false }) },
  { name: "labels as they are", manifest: tuned({ label_smoothing: 0, logreg: true }) },
  { name: "no weight decay", manifest: tuned({ weight_decay: 0 }) },
  { name: "all of weight decay", manifest: tuned({ weight_decay: 1 }) },
  { name: "small images of resnet18", manifest: tuned({ image_size: 32 }) },
  { name: "small images of efficientnet-lite0", manifest: tuned({ image_size: 64 }, lite) },
];

export const refusedHyperparameters: ManifestCase[] = [
  refusedHyperparameter("batch_size above", { batch_size: 1025 }, "batch_size"),
  refusedHyperparameter("batch_size below", { batch_size: 0 }, "batch_size"),
  refusedHyperparameter("batch_size with a fraction", { batch_size: 1.5 }, "batch_size"),
  refusedHyperparameter("batch_size as a string", { batch_size: "64" }, "batch_size"),
  refusedHyperparameter("logreg as a string", { logreg: "yes" }, "logreg"),
  refusedHyperparameter("image_size off its step", { image_size: 100 }, "image_size"),
  refusedHyperparameter("image_size above", { image_size: 1056 }, "image_size"),
  refusedHyperparameter("image_size below", { image_size: 0 }, "image_size"),
  refusedHyperparameter("image_size of resnet18 only", { image_size: 32 }, "image_size", lite),
  refusedHyperparameter(
    "multiplier above",
    { base_gradient_multiplier: 1.1 },
    "base_gradient_multiplier",
  ),
  refusedHyperparameter(
    "multiplier below",
    { base_gradient_multiplier: -0.1 },
    "base_gradient_multiplier",
  ),
  refusedHyperparameter("lrate of zero", { lrate: 0 }, "lrate"),
  refusedHyperparameter("a negative per_item_lrate", { per_item_lrate: -1 }, "per_item_lrate"),
  refusedHyperparameter("a huge per_128_lrate", { per_128_lrate: 1001 }, "per_128_lrate"),
  refusedHyperparameter(
    "lrate and per_item_lrate",
    { lrate: 0.1, per_item_lrate: 0.1 },
    "per_item_lrate",
  ),
  refusedHyperparameter(
    "lrate and per_128_lrate",
    { lrate: 0.1, per_128_lrate: 0.1 },
    "per_128_lrate",
  ),
  refusedHyperparameter(
    "per_item_lrate and per_128_lrate",
    { per_item_lrate: 0.1, per_128_lrate: 0.1 },
    "per_128_lrate",
  ),
  refusedHyperparameter(
    "all three learning rates",
    { lrate: 0.1, per_item_lrate: 0.1, per_128_lrate: 0.1 },
    "per_item_lrate",
  ),
  refusedHyperparameter("num_epochs below", { num_epochs: 0 }, "num_epochs"),
  refusedHyperparameter("num_epochs above", { num_epochs: 1001 }, "num_epochs"),
  refusedHyperparameter(
    "init_epochs above num_epochs",
    { init_epochs: 11, num_epochs: 10 },
    "init_epochs",
  ),
  refusedHyperparameter(
    "init_epochs above the default num_epochs",
    { init_epochs: 80 },
    "init_epochs",
  ),
  refusedHyperparameter("init_epochs of zero", { init_epochs: 0 }, "init_epochs"),
  refusedHyperparameter("step_epochs above", { step_epochs: 1001 }, "step_epochs"),
  refusedHyperparameter(
    "init_epochs beside a cosine",
    { lrate_schedule: "cosine", init_epochs: 1 },
    "init_epochs",
  ),
  refusedHyperparameter(
    "step_epochs beside a cosine",
    { lrate_schedule: "cosine", step_epochs: 1 },
    "step_epochs",
  ),
  refusedHyperparameter(
    "both beside a cosine",
    { lrate_schedule: "cosine", init_epochs: 1, step_epochs: 1 },
    "init_epochs",
  ),
  refusedHyperparameter("an unknown schedule", { lrate_schedule: "linear" }, "lrate_schedule"),
  refusedHyperparameter("a negative weight_decay", { weight_decay: -1e-9 }, "weight_decay"),
  refusedHyperparameter("weight_decay above", { weight_decay: 1.001 }, "weight_decay"),
  refusedHyperparameter("weight_decay as a string", { weight_decay: "0.1" }, "weight_decay"),
  refusedHyperparameter("test_freq above num_epochs", { test_freq: 4, num_epochs: 3 }, "test_freq"),
  refusedHyperparameter("test_freq above the default num_epochs", { test_freq: 66 }, "test_freq"),
  refusedHyperparameter(
    "a negative num_items_per_epoch",
    { num_items_per_epoch: -1 },
    "num_items_per_epoch",
  ),
  refusedHyperparameter("a negative early stop", { early_stop_epochs: -1 }, "early_stop_epochs"),
  refusedHyperparameter(
    "early_stop_epochs above",
    { early_stop_epochs: 1001 },
    "early_stop_epochs",
  ),
  refusedHyperparameter("half an epoch", { early_stop_epochs: 0.5 }, "early_stop_epochs"),
  refusedHyperparameter("a rate that drops to 0", { lrate_decay: 0 }, "lrate_decay"),
  refusedHyperparameter("a rate that rises", { lrate_decay: 1.01 }, "lrate_decay"),
  refusedHyperparameter(
    "lrate_decay beside a cosine",
    { lrate_schedule: "cosine", lrate_decay: 0.3 },
    "lrate_decay",
  ),
  refusedHyperparameter(
    "smoothed labels of one sigmoid per concept",
    { label_smoothing: 0.1, logreg: true },
    "label_smoothing",
  ),
  refusedHyperparameter(
    "smoothed labels of the default",
    { label_smoothing: 0.1 },
    "label_smoothing",
  ),
  refusedHyperparameter(
    "negative smoothing",
    { label_smoothing: -0.1, logreg: false },
    "label_smoothing",
  ),
  refusedHyperparameter(
    "labels that say nothing",
    { label_smoothing: 0.91, logreg: false },
    "label_smoothing",
  ),
  refusedHyperparameter("a seed of more than 31 bits", { seed: 2 ** 31 }, "seed"),
  {
    ...refusedHyperparameter("a misspelt hyperparameter", { epochs: 3 }, "epochs"),
    unknown: true,
  },
];
