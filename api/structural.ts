// From a zod schema to the structural OpenAPI schema that a CustomResourceDefinition takes, and the check that it is
// one: bounded, described, free of what the API server refuses.

import { z } from "zod";

export interface ValidationRule {
  rule: string;
  message: string;
  reason: "FieldValueInvalid" | "FieldValueForbidden" | "FieldValueRequired";
  fieldPath?: string;
  optionalOldSelf?: boolean;
}

/** The part of OpenAPI 3.0 that our schemas use; anything else is a mistake of the generator. */
export interface StructuralSchema {
  type?: "object" | "array" | "string" | "integer" | "number" | "boolean" | undefined;
  description?: string | undefined;
  properties?: Record<string, StructuralSchema> | undefined;
  required?: string[] | undefined;
  additionalProperties?: StructuralSchema | undefined;
  items?: StructuralSchema | undefined;
  enum?: (string | number)[] | undefined;
  format?: string | undefined;
  pattern?: string | undefined;
  minLength?: number | undefined;
  maxLength?: number | undefined;
  minimum?: number | undefined;
  exclusiveMinimum?: boolean | undefined;
  maximum?: number | undefined;
  multipleOf?: number | undefined;
  minItems?: number | undefined;
  maxItems?: number | undefined;
  maxProperties?: number | undefined;
  default?: Record<string, number> | undefined;
  "x-kubernetes-int-or-string"?: boolean | undefined;
  "x-kubernetes-list-type"?: "atomic" | "set" | "map" | undefined;
  "x-kubernetes-list-map-keys"?: string[] | undefined;
  "x-kubernetes-validations"?: ValidationRule[] | undefined;
}

// `anyOf` is what zod makes of a union; only string-or-integer has a structural form. `patternMessage` comes from
// text.ts.
type Node = Omit<StructuralSchema, "properties" | "items" | "additionalProperties"> & {
  properties?: Record<string, Node> | undefined;
  items?: Node | undefined;
  additionalProperties?: Node | undefined;
  anyOf?: Node[] | undefined;
  patternMessage?: string | undefined;
};
const Node: z.ZodType<Node> = z.lazy(() =>
  z.strictObject({
    type: z.enum(["object", "array", "string", "integer", "number", "boolean"]).optional(),
    description: z.string().optional(),
    properties: z.record(z.string(), Node).optional(),
    required: z.array(z.string()).optional(),
    // zod says `false` where an object is strict; the API server prunes or refuses unknown fields itself.
    additionalProperties: z.union([Node, z.literal(false).transform(() => undefined)]).optional(),
    items: Node.optional(),
    enum: z.array(z.union([z.string(), z.number()])).optional(),
    format: z.string().optional(),
    pattern: z.string().optional(),
    minLength: z.int().optional(),
    maxLength: z.int().optional(),
    minimum: z.number().optional(),
    exclusiveMinimum: z.boolean().optional(),
    maximum: z.number().optional(),
    multipleOf: z.number().optional(),
    minItems: z.int().optional(),
    maxItems: z.int().optional(),
    maxProperties: z.int().optional(),
    anyOf: z.array(Node).optional(),
    patternMessage: z.string().optional(),
    "x-kubernetes-list-type": z.enum(["atomic", "set", "map"]).optional(),
    "x-kubernetes-list-map-keys": z.array(z.string()).optional(),
  }),
);
/** How a pattern is checked: by a rule with words for the user, or as `pattern`, which costs less. */
export type PatternForm = "words" | "pattern";

const structural = ({ anyOf, ...node }: Node, form: PatternForm): StructuralSchema => {
  const { properties, items, additionalProperties, pattern, patternMessage, ...rest } = node;
  if (anyOf !== undefined) {
    return { ...rest, ...intOrString(anyOf.map((variant) => structural(variant, form))) };
  }
  return {
    ...rest,
    ...(properties === undefined
      ? {}
      : {
          properties: Object.fromEntries(
            Object.entries(properties).map(([name, member]) => [name, structural(member, form)]),
          ),
        }),
    ...(items === undefined ? {} : { items: structural(items, form) }),
    ...(additionalProperties === undefined
      ? {}
      : { additionalProperties: structural(additionalProperties, form) }),
    ...(pattern === undefined ? {} : patternCheck(pattern, patternMessage, form)),
  };
};

const patternCheck = (
  pattern: string,
  message: string | undefined,
  form: PatternForm,
): StructuralSchema => {
  if (message === undefined) throw new Error(`No words for the pattern ${pattern}: see text.ts`);
  if (form === "pattern") return { pattern };
  const rule = `self.matches(r'${pattern}')`;
  return { "x-kubernetes-validations": [{ rule, message, reason: "FieldValueInvalid" }] };
};

const intOrString = (variants: StructuralSchema[]): StructuralSchema => {
  const string = variants.find(({ type }) => type === "string");
  const integer = variants.find(({ type }) => type === "integer");
  if (string === undefined || integer === undefined || variants.length !== 2)
    throw new Error("Only a union of string and integer has a structural form");
  // Each bound applies to values of its own type only, so the two variants can be laid over one another.
  const { type: _string, "x-kubernetes-validations": rules, ...ofString } = string;
  const { type: _integer, ...ofInteger } = integer;
  return {
    "x-kubernetes-int-or-string": true,
    ...ofString,
    ...ofInteger,
    ...(rules === undefined
      ? {}
      : {
          "x-kubernetes-validations": rules.map(({ rule, ...rest }) => ({
            rule: `type(self) != string || ${rule}`,
            ...rest,
          })),
        }),
  };
};

/** @throws on a schema that has no structural form: unions of objects, tuples, `unknown`, `$ref`. */
export const structuralSchema = (schema: z.ZodType, form: PatternForm): StructuralSchema =>
  structural(Node.parse(z.toJSONSchema(schema, { target: "openapi-3.0", io: "input" })), form);

/** What keeps a schema from being a good structural one, each with its path; empty when nothing does. */
export const schemaFaults = (schema: StructuralSchema, path: string): string[] => [
  ...ownFaults(schema).map((fault) => `${path}: ${fault}`),
  ...Object.entries(schema.properties ?? {}).flatMap(([name, property]) => [
    ...(property.description === undefined ? [`${path}.${name}: no description`] : []),
    ...schemaFaults(property, `${path}.${name}`),
  ]),
  ...(schema.items === undefined ? [] : schemaFaults(schema.items, `${path}[]`)),
  ...(schema.additionalProperties === undefined
    ? []
    : schemaFaults(schema.additionalProperties, `${path}.*`)),
];

const ownFaults = (schema: StructuralSchema): string[] => {
  const faults: string[] = [];
  const stringLike = schema.type === "string" || schema["x-kubernetes-int-or-string"] === true;
  if (schema.type === undefined && schema["x-kubernetes-int-or-string"] !== true)
    faults.push("no type");
  if (stringLike && schema.enum === undefined && schema.maxLength === undefined)
    faults.push("a string without maxLength");
  if (schema.type === "array" && schema.maxItems === undefined)
    faults.push("a list without maxItems");
  if (schema.type === "array" && schema.items === undefined) faults.push("a list without items");
  if (schema.type === "array" && schema["x-kubernetes-list-type"] === undefined)
    faults.push("a list without x-kubernetes-list-type");
  if (schema.type === "object" && schema.additionalProperties && schema.maxProperties === undefined)
    faults.push("a map without maxProperties");
  if (schema.type === "object" && !schema.additionalProperties && !schema.properties)
    faults.push("an object without properties");
  if (schema.type === "integer" && (schema.minimum === undefined || schema.maximum === undefined))
    faults.push("an integer without minimum and maximum");
  if (schema.multipleOf !== undefined && schema.type !== "integer")
    faults.push("multipleOf on a number that is no integer");
  return faults;
};
