// The verdict that the API server gives on a manifest, without one: the same fields, in the same order. A table of
// manifests (test/contract) holds the two together.

import type { z } from "zod";
import { kinds } from "./crd.ts";
import type { Judgement } from "./rule.ts";
import { operatorJudgements } from "./rules.ts";
import { type StructuralSchema, structuralSchema } from "./structural.ts";

export interface Problem {
  /** Path of the field: `spec.gates[0].metric`. */
  field: string;
  /** What is wrong and what is allowed, without the field. */
  message: string;
}

const pathOf = (segments: readonly PropertyKey[]): string =>
  segments.reduce<string>(
    (path, segment) =>
      typeof segment === "number"
        ? `${path}[${segment}]`
        : path === ""
          ? String(segment)
          : `${path}.${String(segment)}`,
    "",
  );

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Strict field validation, as `kubectl apply` asks the API server for. */
const unknownFields = (value: unknown, schema: StructuralSchema, path: string): Problem[] => {
  if (Array.isArray(value)) {
    const { items } = schema;
    if (items === undefined) return [];
    return value.flatMap((item, index) => unknownFields(item, items, `${path}[${index}]`));
  }
  const { properties } = schema;
  if (!isRecord(value) || properties === undefined) return [];
  return Object.entries(value).flatMap(([name, member]) => {
    const known = Object.hasOwn(properties, name) ? properties[name] : undefined;
    const field = `${path}.${name}`;
    return known === undefined
      ? [{ field, message: `unknown field; known are ${Object.keys(properties).join(", ")}` }]
      : unknownFields(member, known, field);
  });
};

/** The values at a path such as `spec.gates[]`, each with its own path. */
const valuesAt = (root: unknown, at: string): [path: string, value: unknown][] => {
  const steps = at === "" ? [] : at.split(".");
  return steps.reduce<[string, unknown][]>(
    (found, step) =>
      found.flatMap(([path, value]): [string, unknown][] => {
        const name = step.replace("[]", "");
        const member = isRecord(value) ? value[name] : undefined;
        const field = path === "" ? name : `${path}.${name}`;
        if (!step.endsWith("[]")) return member === undefined ? [] : [[field, member]];
        return Array.isArray(member)
          ? member.map((item, index): [string, unknown] => [`${field}[${index}]`, item])
          : [];
      }),
    [["", root]],
  );
};

const broken = (judgements: readonly Judgement[], manifest: unknown): Problem[] =>
  judgements.flatMap(({ at, fieldPath = "", holds, message }) =>
    valuesAt(manifest, at)
      .filter(([, value]) => !holds(value))
      .map(([path]) => ({ field: `${path}${fieldPath}`.replace(/^\./, ""), message })),
  );

type Issue = z.core.$ZodIssue;

/** After these the API server judges no rule: of a wrong type, missing, not in the list, too long, too many. */
const isBlocking = ({ code, ...issue }: Issue): boolean =>
  code === "invalid_type" ||
  code === "invalid_value" ||
  code === "invalid_union" ||
  code === "custom" ||
  (code === "too_big" && "origin" in issue && ["string", "array"].includes(`${issue.origin}`));

const problemOf = ({ path, message }: Issue): Problem => ({
  field: pathOf(["spec", ...path]),
  message,
});

type Validate = (manifest: unknown) => Problem[];

const validator = (name: string): Validate => {
  const kind = kinds.find((candidate) => candidate.kind === name);
  if (kind === undefined) throw new Error(`No kind ${name}`);
  const specSchema = structuralSchema(kind.spec, "words");
  return (manifest) => {
    const spec = isRecord(manifest) ? manifest.spec : undefined;
    // The API server reads strictly first, then judges by the schema, then by the rules.
    const unknown = unknownFields(spec, specSchema, "spec");
    if (unknown.length > 0) return unknown;
    const issues = kind.spec.safeParse(spec).error?.issues ?? [];
    // Patterns are rules as well (see structural.ts).
    const [patterns, others] = [
      issues.filter(({ code }) => code === "invalid_format"),
      issues.filter(({ code }) => code !== "invalid_format"),
    ];
    if (others.some(isBlocking)) return others.map(problemOf);
    return [...[...others, ...patterns].map(problemOf), ...broken(kind.rules, manifest)];
  };
};

/** What the API server would refuse a Dataset for when it is created; empty when it would not. */
export const validateDataset: Validate = validator("Dataset");

/** What the API server would refuse a DeepModel for when it is created; empty when it would not. */
export const validateDeepModel: Validate = validator("DeepModel");

/** What the operator finds wrong with a stored Dataset: all of the above, and what the API server cannot judge. */
export const judgeDataset = (manifest: unknown): Problem[] => [
  ...validateDataset(manifest),
  ...broken(operatorJudgements, manifest),
];

/** What the operator finds wrong with a stored DeepModel: all of the above, and what the API server cannot judge. */
export const judgeDeepModel = (manifest: unknown): Problem[] => [
  ...validateDeepModel(manifest),
  ...broken(operatorJudgements, manifest),
];
