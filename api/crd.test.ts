import { describe, expect, it } from "vitest";
import { customResourceDefinition, kindSchema, kinds } from "./crd.ts";
import { datasetRules, deepModelRules, modelVersionRules } from "./rules.ts";
import { type StructuralSchema, schemaFaults, type ValidationRule } from "./structural.ts";

const placed = (
  schema: StructuralSchema,
  path: string,
): [path: string, schema: StructuralSchema, rule: ValidationRule][] => [
  ...(schema["x-kubernetes-validations"] ?? []).map(
    (rule): [string, StructuralSchema, ValidationRule] => [path, schema, rule],
  ),
  ...Object.entries(schema.properties ?? {}).flatMap(([name, member]) =>
    placed(member, path === "" ? name : `${path}.${name}`),
  ),
  ...(schema.items === undefined ? [] : placed(schema.items, `${path}[]`)),
  ...(schema.additionalProperties === undefined
    ? []
    : placed(schema.additionalProperties, `${path}.*`)),
];

const resolves = (schema: StructuralSchema, fieldPath: string): boolean => {
  const steps = fieldPath.replace(/^\./, "").split(".");
  return (
    steps.reduce<StructuralSchema | undefined>((at, step) => at?.properties?.[step], schema) !==
    undefined
  );
};

describe.each(kinds.map((kind) => [kind.kind, kind] as const))("%s", (_, kind) => {
  const schema = kindSchema(kind);
  const { spec = {}, status = {} } = schema.properties ?? {};

  it("bounds and describes every field of spec and status", () => {
    expect([...schemaFaults(spec, "spec"), ...schemaFaults(status, "status")]).toEqual([]);
    expect([spec.description, status.description]).not.toContain(undefined);
  });

  it("puts every rule where it belongs, once", () => {
    const rules = placed(schema, "");
    for (const { at, rule } of kind.rules)
      expect(rules.filter(([path, , found]) => path === at && found.rule === rule)).toHaveLength(1);
  });

  it("gives every rule words and a reason, and a field that there is", () => {
    for (const [path, at, rule] of placed(schema, "")) {
      expect(rule.message, path).toMatch(/^\S[^\n]+[^\s.]$/);
      expect(rule.reason, path).toMatch(/^FieldValue/);
      if (rule.fieldPath !== undefined)
        expect(resolves(at, rule.fieldPath), `${path}${rule.fieldPath}`).toBe(true);
    }
  });

  it("reads its columns from fields that there are", () => {
    for (const { jsonPath } of kind.columns) {
      if (jsonPath.startsWith(".metadata.") || jsonPath.includes("conditions[?")) continue;
      expect(resolves(schema, jsonPath), jsonPath).toBe(true);
    }
  });

  it("defaults nothing but the status of an object that nobody has seen", () => {
    expect(JSON.stringify(schema).match(/"default":/g)).toHaveLength(1);
    expect(status.default).toEqual({ observedGeneration: -1 });
  });
});

it("rules on spec stand back while what they speak of is unchanged, and say so", () => {
  const onSpec = [...datasetRules, ...deepModelRules].filter(({ at }) => at === "spec");
  expect(onSpec).not.toHaveLength(0);
  for (const { rule, optionalOldSelf } of onSpec) {
    expect(optionalOldSelf).toBe(true);
    expect(rule).toContain("oldSelf.hasValue() &&");
  }
});

it("the spec of a ModelVersion is immutable", () => {
  expect(modelVersionRules.map(({ at, rule }) => [at, rule])).toContainEqual([
    "spec",
    "self == oldSelf",
  ]);
});

it("DeepModels show the columns that people read first", () => {
  const [columns] = kinds
    .filter(({ kind }) => kind === "DeepModel")
    .map((kind) => customResourceDefinition(kind).spec.versions[0]?.additionalPrinterColumns);
  expect(columns?.filter(({ priority }) => priority === undefined).map(({ name }) => name)).toEqual(
    ["Ready", "Reason", "Serving", "Epoch", "Metric", "Age"],
  );
});
