// The CustomResourceDefinitions, made of the zod schemas, the rules and a few facts about each kind.

import type { z } from "zod";
import { DatasetSpec, DatasetStatus } from "./dataset.ts";
import { DeepModelSpec, DeepModelStatus } from "./deepmodel.ts";
import { GROUP, VERSION } from "./group.ts";
import { ModelVersionSpec, ModelVersionStatus } from "./modelversion.ts";
import type { Rule } from "./rule.ts";
import { datasetRules, deepModelRules, modelVersionRules } from "./rules.ts";
import { type StructuralSchema, structuralSchema, type ValidationRule } from "./structural.ts";

interface Column {
  name: string;
  type: "string" | "integer" | "date";
  jsonPath: string;
  description: string;
  /** 1: shown with `-o wide` only. */
  priority?: 1;
}

export interface Kind {
  kind: string;
  plural: string;
  singular: string;
  shortName: string;
  description: string;
  /** Who writes the spec. */
  writtenBy: "user" | "operator";
  spec: z.ZodType;
  status: z.ZodType;
  rules: readonly Rule[];
  columns: readonly Column[];
}

const ofReady = (field: string): string => `.status.conditions[?(@.type=="Ready")].${field}`;
const ready: Column = {
  name: "Ready",
  type: "string",
  jsonPath: ofReady("status"),
  description: "Whether the object is what its spec asks for.",
};
const reason: Column = {
  name: "Reason",
  type: "string",
  jsonPath: ofReady("reason"),
  description: "Why, in one word.",
};
const age: Column = {
  name: "Age",
  type: "date",
  jsonPath: ".metadata.creationTimestamp",
  description: "Time since the object was created.",
};
const message: Column = {
  name: "Message",
  type: "string",
  jsonPath: ofReady("message"),
  description: "Why, in one line.",
  priority: 1,
};
const epoch: Column = {
  name: "Epoch",
  type: "string",
  jsonPath: ".status.progress.display",
  description: "How far the training is.",
};
const metric: Column = {
  name: "Metric",
  type: "string",
  jsonPath: ".status.metric",
  description: "The headline metric.",
};

export const kinds: readonly Kind[] = [
  {
    kind: "Dataset",
    plural: "datasets",
    singular: "dataset",
    shortName: "dset",
    description:
      "Labelled images or videos: where they are, their format and their splits. Every item is checked, and a copy is kept.",
    writtenBy: "user",
    spec: DatasetSpec,
    status: DatasetStatus,
    rules: datasetRules,
    columns: [
      ready,
      reason,
      {
        name: "Data",
        type: "string",
        jsonPath: ".status.summary",
        description: "Items and concepts.",
      },
      {
        name: "Invalid",
        type: "integer",
        jsonPath: ".status.data.invalid",
        description: "Items that were left out.",
      },
      age,
      {
        name: "Import",
        type: "string",
        jsonPath: ".status.import.phase",
        description: "What the importer is doing.",
        priority: 1,
      },
      message,
    ],
  },
  {
    kind: "DeepModel",
    plural: "deepmodels",
    singular: "deepmodel",
    shortName: "dm",
    description:
      "A template, hyperparameters and a dataset: a model that is trained, and trained again when they change.",
    writtenBy: "user",
    spec: DeepModelSpec,
    status: DeepModelStatus,
    rules: deepModelRules,
    columns: [
      ready,
      reason,
      {
        name: "Serving",
        type: "string",
        jsonPath: ".status.readyVersion",
        description: "The version to be used.",
      },
      epoch,
      metric,
      age,
      {
        name: "Template",
        type: "string",
        jsonPath: ".spec.template",
        description: "What is trained.",
        priority: 1,
      },
      {
        name: "Dataset",
        type: "string",
        jsonPath: ".spec.datasetRef.name",
        description: "The data.",
        priority: 1,
      },
      message,
    ],
  },
  {
    kind: "ModelVersion",
    plural: "modelversions",
    singular: "modelversion",
    shortName: "mv",
    description:
      "One immutable set of training inputs and what came of it. Written by the operator only.",
    writtenBy: "operator",
    spec: ModelVersionSpec,
    status: ModelVersionStatus,
    rules: modelVersionRules,
    columns: [
      ready,
      reason,
      {
        name: "Attempt",
        type: "integer",
        jsonPath: ".status.attempt",
        description: "Number of the newest attempt.",
      },
      epoch,
      metric,
      age,
      {
        name: "Model",
        type: "string",
        jsonPath: ".spec.model.name",
        description: "The DeepModel.",
        priority: 1,
      },
      message,
    ],
  },
];

const validationOf = ({ at: _at, holds: _holds, ...validation }: Rule): ValidationRule =>
  validation;

/** Puts the rules where they sit. `path` is that of `schema`, in the words of `Rule.at`. */
const withRules = (
  schema: StructuralSchema,
  rules: readonly Rule[],
  path: string,
): StructuralSchema => {
  const below = (name: string) => (path === "" ? name : `${path}.${name}`);
  const own = [
    ...(schema["x-kubernetes-validations"] ?? []),
    ...rules.filter(({ at }) => at === path).map(validationOf),
  ];
  return {
    ...schema,
    ...(schema.properties === undefined
      ? {}
      : {
          properties: Object.fromEntries(
            Object.entries(schema.properties).map(([name, property]) => [
              name,
              withRules(property, rules, below(name)),
            ]),
          ),
        }),
    ...(schema.items === undefined ? {} : { items: withRules(schema.items, rules, `${path}[]`) }),
    ...(own.length === 0 ? {} : { "x-kubernetes-validations": own }),
  };
};

/** The schema of a whole object of the kind. */
export const kindSchema = (kind: Kind): StructuralSchema =>
  withRules(
    {
      type: "object",
      description: kind.description,
      required: ["spec"],
      properties: {
        apiVersion: { type: "string", description: `The group and version: ${GROUP}/${VERSION}.` },
        kind: { type: "string", description: `The kind: ${kind.kind}.` },
        // Named so that a rule may point to it.
        metadata: { type: "object", properties: { name: { type: "string" } } },
        spec: structuralSchema(kind.spec, kind.writtenBy === "user" ? "words" : "pattern"),
        // An object that no controller has seen is in progress, not settled (kstatus).
        status: {
          ...structuralSchema(kind.status, "pattern"),
          default: { observedGeneration: -1 },
        },
      },
    },
    kind.rules,
    "",
  );

/** The CustomResourceDefinition, as it is applied. */
export const customResourceDefinition = (kind: Kind) => ({
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: {
    name: `${kind.plural}.${GROUP}`,
    labels: { "app.kubernetes.io/name": "deeptrain", "app.kubernetes.io/part-of": "deeptrain" },
  },
  spec: {
    group: GROUP,
    scope: "Namespaced",
    names: {
      kind: kind.kind,
      listKind: `${kind.kind}List`,
      plural: kind.plural,
      singular: kind.singular,
      shortNames: [kind.shortName],
      categories: ["deeptrain"],
    },
    versions: [
      {
        name: VERSION,
        served: true,
        storage: true,
        subresources: { status: {} },
        additionalPrinterColumns: kind.columns,
        schema: { openAPIV3Schema: kindSchema(kind) },
      },
    ],
  },
});
