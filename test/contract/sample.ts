// Values that fit a structural schema, made from the schema alone.

import fc from "fast-check";
import type { StructuralSchema } from "../../api/structural.ts";

const stringOf = (schema: StructuralSchema): fc.Arbitrary<unknown> => {
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  if (schema.format === "date-time")
    return fc
      .date({ min: new Date(0), max: new Date(4e12), noInvalidDate: true })
      .map((date) => `${date.toISOString().slice(0, 19)}Z`);
  const maxLength = Math.min(schema.maxLength ?? 64, 64);
  if (schema.pattern !== undefined)
    return fc
      .stringMatching(new RegExp(schema.pattern))
      .filter((value) => value.length <= (schema.maxLength ?? 64));
  return fc.string({ minLength: schema.minLength ?? 0, maxLength, unit: "grapheme-ascii" });
};

const integerOf = ({ minimum = 0, maximum = 0, multipleOf = 1 }: StructuralSchema) =>
  fc
    .integer({
      min: Math.ceil(minimum / multipleOf),
      max: Math.floor(maximum / multipleOf),
    })
    .map((n) => n * multipleOf);

const numberOf = (schema: StructuralSchema) =>
  fc
    .double({
      min: schema.minimum ?? -1e6,
      max: schema.maximum ?? 1e6,
      noNaN: true,
      minExcluded: schema.exclusiveMinimum === true,
    })
    // JSON has one zero.
    .map((n) => (n === 0 ? 0 : n));

const objectOf = (schema: StructuralSchema, full: boolean): fc.Arbitrary<unknown> => {
  const { properties = {}, additionalProperties, required = [] } = schema;
  if (additionalProperties !== undefined)
    return fc.dictionary(
      fc.stringMatching(/^[a-z][a-z0-9]{1,8}$/),
      arbitraryOf(additionalProperties, full),
      {
        minKeys: full ? 1 : 0,
        maxKeys: Math.min(schema.maxProperties ?? 1, 4),
        noNullPrototype: true,
      },
    );
  const members = Object.fromEntries(
    Object.entries(properties).map(([name, member]) => [name, arbitraryOf(member, full)]),
  );
  return fc.record(members, {
    requiredKeys: full ? Object.keys(properties) : required,
    noNullPrototype: true,
  });
};

/** A list-map has one item a key; other lists are short. */
const arrayOf = (schema: StructuralSchema, full: boolean): fc.Arbitrary<unknown> => {
  const { items = {}, maxItems = 1, minItems = 0 } = schema;
  const [key] = schema["x-kubernetes-list-map-keys"] ?? [];
  const length = { minLength: Math.max(minItems, full ? 1 : 0), maxLength: Math.min(maxItems, 3) };
  if (key === undefined && schema["x-kubernetes-list-type"] !== "set")
    return fc.array(arbitraryOf(items, full), length);
  return fc.uniqueArray(arbitraryOf(items, full), {
    ...length,
    selector: (item) => JSON.stringify(key === undefined ? item : Object(item)[key]),
  });
};

/** @param full every field of every object is there, and no list or map is empty. */
export const arbitraryOf = (schema: StructuralSchema, full: boolean): fc.Arbitrary<unknown> => {
  switch (schema.type) {
    case "object":
      return objectOf(schema, full);
    case "array":
      return arrayOf(schema, full);
    case "integer":
      return integerOf(schema);
    case "number":
      return numberOf(schema);
    case "boolean":
      return fc.boolean();
    default:
      return stringOf(schema);
  }
};

/** One value with everything in it; the same for the same seed. */
export const filled = (schema: StructuralSchema, seed: number): Record<string, unknown> => {
  const [value] = fc.sample(arbitraryOf(schema, true), { numRuns: 1, seed });
  return Object(value);
};

/** Paths of all leaves that a schema knows; below a map every name is `*`. */
export const schemaLeaves = (schema: StructuralSchema, path: string): string[] => {
  if (schema.properties !== undefined)
    return Object.entries(schema.properties).flatMap(([name, member]) =>
      schemaLeaves(member, `${path}.${name}`),
    );
  if (schema.items !== undefined) return schemaLeaves(schema.items, `${path}[]`);
  if (schema.additionalProperties !== undefined)
    return schemaLeaves(schema.additionalProperties, `${path}.*`);
  return [path];
};

/** Whether a value has something at a path of `schemaLeaves`. */
export const hasLeaf = (value: unknown, path: string): boolean => {
  const steps = path.split(/\.|(?=\[\])/);
  const present = (at: unknown, [step, ...rest]: string[]): boolean => {
    if (step === undefined) return at !== undefined;
    if (typeof at !== "object" || at === null) return false;
    if (step === "[]") return Array.isArray(at) && at.some((item) => present(item, rest));
    if (step === "*") return Object.values(at).some((member) => present(member, rest));
    return present(Object(at)[step], rest);
  };
  return present(value, steps);
};
