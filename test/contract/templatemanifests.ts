// DeepModels of every type of template: which hyperparameters each has, how far they go, and where the weights begin.

import { type ManifestCase, object, type Values } from "./manifest.ts";

const templates = {
  classifier: "visual-classifier/efficientnet-lite0",
  resnet18: "visual-classifier/resnet18",
  vit: "visual-classifier/vit-small",
  detector: "visual-detector/retinanet-efficientnet-lite0",
  embedder: "visual-embedder/arcface-efficientnet-lite0",
  head: "context-based-classifier/linear",
};
type Template = keyof typeof templates;

const model = (template: Template, hyperparameters: Values, change: Values = {}) =>
  object("DeepModel", {
    template: templates[template],
    datasetRef: { name: "photos" },
    hyperparameters,
    ...change,
  });

const written = (template: Template, hyperparameters: Values): ManifestCase => ({
  name: `${template}: ${JSON.stringify(hyperparameters)}`,
  manifest: model(template, hyperparameters),
});
const refused = (template: Template, hyperparameters: Values, field: string): ManifestCase => ({
  ...written(template, hyperparameters),
  refused: `spec.hyperparameters.${field}`,
});

const begun = (template: Template, base: unknown): ManifestCase => ({
  name: `${template} on ${JSON.stringify(base).slice(0, 80)}`,
  manifest: model(template, {}, { base }),
});

const file = { url: "https://example.org/w.safetensors", sha256: "0".repeat(64) };

export const acceptedTemplates: ManifestCase[] = [
  ...[
    "visual-classifier/resnet50",
    "visual-classifier/convnext-tiny",
    "visual-classifier/vit-small",
    "visual-detector/retinanet-efficientnet-lite0",
    "visual-detector/ssdlite-efficientnet-lite0",
    "visual-detector/retinanet-resnet50",
    "visual-detector/fasterrcnn-resnet50",
    "visual-embedder/arcface-efficientnet-lite0",
    "visual-embedder/arcface-resnet50",
    "context-based-classifier/linear",
  ].map((template) => ({
    name: `${template}, nothing written`,
    manifest: object("DeepModel", { template, datasetRef: { name: "photos" } }),
  })),
  written("detector", {
    average_horizontal_flips: true,
    base_gradient_multiplier: 0,
    batch_size: 256,
    detection_score_threshold: 0.05,
    image_size: 256,
    init_epochs: 50,
    step_epochs: 5,
    per_128_lrate: 0.01,
    num_items_per_epoch: 100,
    test_freq: 50,
    use_perclass_regression: true,
    seed: 1,
  }),
  written("detector", { image_size: 1024, detection_score_threshold: 0 }),
  written("embedder", { image_size: 96, num_epochs: 5, init_epochs: 5, per_item_lrate: 1e-5 }),
  written("head", { batch_size: 1024, logreg: false, lrate: 1, num_epochs: 1000, seed: 2 }),
  written("head", { weight_decay: 0.01 }),
  written("detector", { weight_decay: 0, lrate_schedule: "cosine", early_stop_epochs: 1 }),
  written("embedder", { weight_decay: 0.1, lrate_schedule: "cosine", early_stop_epochs: 1000 }),
  written("detector", { lrate_decay: 0.5 }),
  written("embedder", {
    lrate_decay: 0.1,
    embeddings_size: 8,
    angular_margin: 0,
    angular_scale: 1,
  }),
  written("embedder", { embeddings_size: 2048, angular_margin: 1.5, angular_scale: 256 }),
  written("head", { logreg: false, label_smoothing: 0.9 }),
  written("vit", { image_size: 96 }),
  written("vit", { image_size: 112 }),
  written("vit", { image_size: 512 }),
  written("resnet18", { image_size: 32 }),
  written("resnet18", { image_size: 1024, batch_size: 1024 }),
  begun("classifier", { name: "none" }),
  begun("classifier", { name: "efficientnet-lite0" }),
  begun("resnet18", { name: "none" }),
  begun("head", { name: "efficientnet-lite0" }),
  begun("head", { name: "efficientnet-lite1" }),
  begun("head", { name: "efficientnet-lite2" }),
  begun("detector", { http: file }),
  begun("head", { modelRef: { name: "shop" } }),
  begun("embedder", { modelRef: { name: "shop", version: 3 } }),
  {
    name: "retraining on data and base",
    manifest: model("classifier", {}, { retrainOn: ["data", "base"] }),
  },
  ...["map50", "map_small", "recall_at_1", "silhouette", "video_top1"].map((metric) => ({
    name: `a gate on ${metric}`,
    manifest: model("classifier", {}, { gates: [{ metric, min: 0.5 }] }),
  })),
];

export const refusedTemplates: ManifestCase[] = [
  refused("classifier", { detection_score_threshold: 0.3 }, "detection_score_threshold"),
  refused("classifier", { use_perclass_regression: false }, "use_perclass_regression"),
  refused("detector", { logreg: true }, "logreg"),
  refused("embedder", { logreg: true }, "logreg"),
  refused("embedder", { use_perclass_regression: true }, "use_perclass_regression"),
  refused("head", { average_horizontal_flips: true }, "average_horizontal_flips"),
  refused("head", { base_gradient_multiplier: 0 }, "base_gradient_multiplier"),
  refused("head", { detection_score_threshold: 0.5 }, "detection_score_threshold"),
  refused("head", { image_size: 224 }, "image_size"),
  refused("head", { init_epochs: 1 }, "init_epochs"),
  refused("head", { step_epochs: 1 }, "step_epochs"),
  refused("head", { lrate_schedule: "step" }, "lrate_schedule"),
  refused("head", { lrate_schedule: "cosine" }, "lrate_schedule"),
  refused("head", { num_items_per_epoch: 1 }, "num_items_per_epoch"),
  refused("head", { test_freq: 1 }, "test_freq"),
  refused("head", { early_stop_epochs: 0 }, "early_stop_epochs"),
  refused("head", { lrate_decay: 0.3 }, "lrate_decay"),
  refused("head", { embeddings_size: 256 }, "embeddings_size"),
  refused("classifier", { embeddings_size: 256 }, "embeddings_size"),
  refused("classifier", { angular_margin: 0.2 }, "angular_margin"),
  refused("detector", { angular_scale: 16 }, "angular_scale"),
  refused("embedder", { embeddings_size: 7 }, "embeddings_size"),
  refused("embedder", { embeddings_size: 2049 }, "embeddings_size"),
  refused("embedder", { embeddings_size: 64.5 }, "embeddings_size"),
  refused("embedder", { angular_margin: -0.1 }, "angular_margin"),
  refused("embedder", { angular_margin: 1.6 }, "angular_margin"),
  refused("embedder", { angular_scale: 0.5 }, "angular_scale"),
  refused("embedder", { angular_scale: 257 }, "angular_scale"),
  refused("head", { use_perclass_regression: true }, "use_perclass_regression"),
  refused("detector", { batch_size: 257 }, "batch_size"),
  refused("detector", { image_size: 224 }, "image_size"),
  refused("detector", { image_size: 272 }, "image_size"),
  refused("detector", { detection_score_threshold: 1.1 }, "detection_score_threshold"),
  refused("detector", { init_epochs: 51 }, "init_epochs"),
  refused("embedder", { test_freq: 31 }, "test_freq"),
  refused("embedder", { image_size: 32 }, "image_size"),
  refused("vit", { image_size: 64 }, "image_size"),
  refused("vit", { image_size: 528 }, "image_size"),
  refused("vit", { image_size: 100 }, "image_size"),
  refused("resnet18", { image_size: 48 }, "image_size"),
  { ...begun("resnet18", { name: "efficientnet-lite0" }), refused: "spec.base.name" },
  { ...begun("classifier", { name: "efficientnet-lite1" }), refused: "spec.base.name" },
  { ...begun("embedder", { name: "efficientnet-lite2" }), refused: "spec.base.name" },
  { ...begun("head", { name: "none" }), refused: "spec.base.name" },
  { ...begun("classifier", { name: "resnet18" }), refused: "spec.base.name" },
  { ...begun("head", { http: file }), refused: "spec.base.http" },
  { ...begun("classifier", {}), refused: "spec.base" },
  {
    ...begun("classifier", { name: "none", modelRef: { name: "shop" } }),
    refused: "spec.base",
  },
  { ...begun("classifier", { http: { url: file.url } }), refused: "spec.base.http.sha256" },
  {
    ...begun("classifier", { http: { ...file, sha256: "0" } }),
    refused: "spec.base.http.sha256",
  },
  {
    ...begun("classifier", { http: { ...file, url: "ftp://example.org/w" } }),
    refused: "spec.base.http.url",
  },
  { ...begun("classifier", { modelRef: {} }), refused: "spec.base.modelRef.name" },
  {
    ...begun("classifier", { modelRef: { name: "My Model" } }),
    refused: "spec.base.modelRef.name",
  },
  {
    ...begun("classifier", { modelRef: { name: "shop", version: 0 } }),
    refused: "spec.base.modelRef.version",
  },
  {
    name: "the same change twice",
    manifest: model("classifier", {}, { retrainOn: ["base", "base"] }),
    refused: "spec.retrainOn[1]",
  },
];
