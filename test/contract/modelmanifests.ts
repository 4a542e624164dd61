// DeepModels, valid and invalid.

import { acceptedHyperparameters, refusedHyperparameters } from "./hyperparametermanifests.ts";
import { type ManifestCase, model, object } from "./manifest.ts";

export const acceptedModels: ManifestCase[] = [
  { name: "the least there can be", manifest: model({}) },
  {
    name: "the other template",
    manifest: model({ template: "visual-classifier/efficientnet-lite0" }),
  },
  ...acceptedHyperparameters,
  {
    name: "every field of a model",
    manifest: model({
      templateRevision: 1,
      hyperparameters: {
        average_horizontal_flips: false,
        base_gradient_multiplier: 0.5,
        batch_size: 32,
        image_size: 96,
        init_epochs: 2,
        step_epochs: 1,
        logreg: false,
        lrate: 0.01,
        num_epochs: 3,
        num_items_per_epoch: 1000,
        test_freq: 2,
        early_stop_epochs: 2,
        lrate_decay: 0.1,
        label_smoothing: 0.1,
        lrate_schedule: "step",
        weight_decay: 0.001,
        seed: 7,
      },
      concepts: ["cat", "dog"],
      resources: { gpus: 1, gpuResourceName: "amd.com/gpu", cpu: "1500m", memory: "2.5Gi" },
      scheduling: {
        nodeSelector: { "example.org/pool": "gpu", empty: "" },
        tolerations: [
          { key: "gpu", operator: "Equal", value: "yes", effect: "NoSchedule" },
          { operator: "Exists" },
          { key: "gone", operator: "Exists", effect: "NoExecute", tolerationSeconds: 60 },
        ],
        priorityClassName: "low",
        runtimeClassName: "nvidia",
        queueName: "team-a",
        workloadPriorityClassName: "urgent",
      },
      gates: [
        { metric: "top1", min: 0.8 },
        { metric: "log_loss", max: 1 },
        { metric: "recall", concept: "dog", min: 0.9 },
        { metric: "video_f1", concept: "cat", min: 0.9 },
      ],
      retrainOn: ["data"],
      suspend: true,
      activeDeadlineSeconds: 3600,
      versionsToKeep: 3,
    }),
  },
  {
    name: "quantities as they are written",
    manifest: model({ resources: { cpu: "0.5", memory: "1073741824" } }),
  },
  { name: "memory in bytes", manifest: model({ resources: { memory: 1073741824 } }) },
  { name: "cpu as a number", manifest: model({ resources: { cpu: 2 } }) },
  { name: "a change of nothing outside", manifest: model({ retrainOn: [] }) },
  { name: "the longest name", manifest: model({}, `m${"o".repeat(39)}`) },
  { name: "a gate of one value", manifest: model({ gates: [{ metric: "top1", min: 1, max: 1 }] }) },
  {
    name: "a gate on a concept, whichever the data have",
    manifest: model({ gates: [{ metric: "ap", concept: "T恤", min: 0.5 }] }),
  },
  {
    name: "a gate on recall, of all and of one",
    manifest: model({
      gates: [
        { metric: "recall", min: 0.5 },
        { metric: "recall", concept: "cat", min: 0.25 },
      ],
    }),
  },
  { name: "a concept of 64 bytes", manifest: model({ concepts: ["ä".repeat(32)] }) },
  { name: "concepts in other scripts", manifest: model({ concepts: ["T恤", "Ärmel", "🐈"] }) },
];

export const refusedModels: ManifestCase[] = [
  { name: "no template", manifest: model({ template: undefined }), refused: "spec.template" },
  {
    name: "an unknown template",
    manifest: model({ template: "visual-classifier/resnet19" }),
    refused: "spec.template",
  },
  {
    name: "a template without its type",
    manifest: model({ template: "resnet18" }),
    refused: "spec.template",
  },
  {
    name: "a revision that does not exist",
    manifest: model({ templateRevision: 3 }),
    refused: "spec.templateRevision",
  },
  {
    name: "revision 0",
    manifest: model({ templateRevision: 0 }),
    refused: "spec.templateRevision",
  },
  { name: "no dataset", manifest: model({ datasetRef: undefined }), refused: "spec.datasetRef" },
  {
    name: "a dataset without name",
    manifest: model({ datasetRef: {} }),
    refused: "spec.datasetRef.name",
  },
  {
    name: "a dataset's name that cannot be",
    manifest: model({ datasetRef: { name: "My Photos" } }),
    refused: "spec.datasetRef.name",
  },
  { name: "a name too long", manifest: model({}, "m".repeat(41)), refused: "metadata.name" },
  { name: "a name that begins with a digit", manifest: model({}, "1st"), refused: "metadata.name" },
  { name: "a name with a dot", manifest: model({}, "cats.v2"), refused: "metadata.name" },
  { name: "no spec", manifest: object("DeepModel", undefined), refused: "spec" },
  ...refusedHyperparameters,
  {
    name: "a misspelt field",
    manifest: model({ hyperParameters: {} }),
    refused: "spec.hyperParameters",
    unknown: true,
  },
  { name: "no concept in the list", manifest: model({ concepts: [] }), refused: "spec.concepts" },
  {
    name: "an empty concept",
    manifest: model({ concepts: ["a", ""] }),
    refused: "spec.concepts[1]",
  },
  {
    name: "a concept of two lines",
    manifest: model({ concepts: ["a\nb"] }),
    refused: "spec.concepts[0]",
  },
  {
    name: "a concept of more than 64 bytes",
    manifest: model({ concepts: ["ä".repeat(33)] }),
    refused: "spec.concepts[0]",
  },
  {
    name: "too many concepts",
    manifest: model({ concepts: Array.from({ length: 1001 }, (_, i) => `c${i}`) }),
    refused: "spec.concepts",
  },
  {
    name: "a gate of nothing",
    manifest: model({ gates: [{ metric: "top1" }] }),
    refused: "spec.gates[0]",
  },
  {
    name: "a gate that nothing passes",
    manifest: model({
      gates: [
        { metric: "top1", min: 0.8 },
        { metric: "top1", min: 0.9, max: 0.8 },
      ],
    }),
    refused: "spec.gates[1].max",
  },
  {
    name: "a gate on an unknown metric",
    manifest: model({ gates: [{ metric: "accuracy", min: 0.8 }] }),
    refused: "spec.gates[0].metric",
  },
  {
    name: "a gate on a concept by a metric of all",
    manifest: model({ gates: [{ metric: "top1", concept: "cat", min: 0.8 }] }),
    refused: "spec.gates[0].metric",
  },
  {
    name: "a gate on all by a metric of one concept",
    manifest: model({ gates: [{ metric: "ap", min: 0.8 }] }),
    refused: "spec.gates[0].concept",
  },
  {
    name: "a gate on a concept that is not trained",
    manifest: model({
      concepts: ["cat", "dog"],
      gates: [{ metric: "ap", concept: "fox", min: 0.8 }],
    }),
    refused: "spec.gates",
  },
  {
    name: "a gate on a concept without a name",
    manifest: model({ gates: [{ metric: "ap", concept: "", min: 0.8 }] }),
    refused: "spec.gates[0].concept",
  },
  {
    name: "gpus below",
    manifest: model({ resources: { gpus: -1 } }),
    refused: "spec.resources.gpus",
  },
  {
    name: "more gpus than a node has",
    manifest: model({ resources: { gpus: 17 } }),
    refused: "spec.resources.gpus",
  },
  {
    name: "no node",
    manifest: model({ resources: { nodes: 0 } }),
    refused: "spec.resources.nodes",
  },
  {
    name: "more nodes than 64",
    manifest: model({ resources: { nodes: 65 } }),
    refused: "spec.resources.nodes",
  },
  {
    name: "cpu that is no quantity",
    manifest: model({ resources: { cpu: "two" } }),
    refused: "spec.resources.cpu",
  },
  {
    name: "cpu of zero as a number",
    manifest: model({ resources: { cpu: 0 } }),
    refused: "spec.resources.cpu",
  },
  {
    name: "cpu of zero",
    manifest: model({ resources: { cpu: "0" } }),
    refused: "spec.resources.cpu",
  },
  {
    name: "memory without its unit",
    manifest: model({ resources: { memory: 4 } }),
    refused: "spec.resources.memory",
  },
  {
    name: "memory in thousandths of a byte",
    manifest: model({ resources: { memory: "512m" } }),
    refused: "spec.resources.memory",
  },
  {
    name: "memory in words",
    manifest: model({ resources: { memory: "4 GB" } }),
    refused: "spec.resources.memory",
  },
  {
    name: "a GPU resource without domain",
    manifest: model({ resources: { gpuResourceName: "gpu" } }),
    refused: "spec.resources.gpuResourceName",
  },
  {
    name: "a node label that cannot be",
    manifest: model({ scheduling: { nodeSelector: { pool: "a b" } } }),
    refused: "spec.scheduling.nodeSelector",
  },
  {
    name: "a node label's key that cannot be",
    manifest: model({ scheduling: { nodeSelector: { "a/b/c": "x" } } }),
    refused: "spec.scheduling.nodeSelector",
  },
  {
    name: "too many node labels",
    manifest: model({
      scheduling: {
        nodeSelector: Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`l${i}`, "x"])),
      },
    }),
    refused: "spec.scheduling.nodeSelector",
  },
  {
    name: "a toleration of every key with Equal",
    manifest: model({ scheduling: { tolerations: [{ value: "x" }] } }),
    refused: "spec.scheduling.tolerations[0].operator",
  },
  {
    name: "a toleration with Exists and a value",
    manifest: model({
      scheduling: { tolerations: [{ key: "a", operator: "Exists", value: "x" }] },
    }),
    refused: "spec.scheduling.tolerations[0].value",
  },
  {
    name: "seconds for a taint that evicts nobody",
    manifest: model({
      scheduling: {
        tolerations: [{ key: "a", operator: "Exists", effect: "NoSchedule", tolerationSeconds: 5 }],
      },
    }),
    refused: "spec.scheduling.tolerations[0].tolerationSeconds",
  },
  {
    name: "a queue whose name is no label",
    manifest: model({ scheduling: { queueName: "Team A" } }),
    refused: "spec.scheduling.queueName",
  },
  {
    name: "a priority in no queue",
    manifest: model({ scheduling: { workloadPriorityClassName: "urgent" } }),
    refused: "spec.scheduling.workloadPriorityClassName",
  },
  {
    name: "retraining on what we do not know",
    manifest: model({ retrainOn: ["weather"] }),
    refused: "spec.retrainOn[0]",
  },
  { name: "suspend as a string", manifest: model({ suspend: "true" }), refused: "spec.suspend" },
  {
    name: "a deadline of zero",
    manifest: model({ activeDeadlineSeconds: 0 }),
    refused: "spec.activeDeadlineSeconds",
  },
  {
    name: "no version kept",
    manifest: model({ versionsToKeep: 0 }),
    refused: "spec.versionsToKeep",
  },
];
