import { describe, expect, it } from "vitest";
import { z } from "zod";
import { type StructuralSchema, schemaFaults, structuralSchema } from "./structural.ts";
import { text } from "./text.ts";

const convert = (schema: z.ZodType) => structuralSchema(schema, "words");

describe("a structural schema", () => {
  it("keeps bounds, descriptions and the list type", () => {
    const schema = z.object({
      names: z
        .array(z.enum(["a", "b"]))
        .max(2)
        .meta({ "x-kubernetes-list-type": "set" })
        .optional()
        .describe("Names."),
      rate: z.number().gt(0).describe("Rate."),
    });
    expect(convert(schema)).toEqual({
      type: "object",
      required: ["rate"],
      properties: {
        names: {
          type: "array",
          description: "Names.",
          maxItems: 2,
          "x-kubernetes-list-type": "set",
          items: { type: "string", enum: ["a", "b"] },
        },
        rate: { type: "number", minimum: 0, exclusiveMinimum: true, description: "Rate." },
      },
    });
  });

  it("forbids no further fields: the API server does, or prunes them", () => {
    expect(convert(z.strictObject({ a: z.boolean() }))).toEqual({
      type: "object",
      required: ["a"],
      properties: { a: { type: "boolean" } },
    });
  });

  const word = text(9, /^[a-z]+$/, "must be a word");
  const rule = { message: "must be a word", reason: "FieldValueInvalid" };

  it("says a pattern in words, or as it is", () => {
    expect(structuralSchema(word, "pattern")).toEqual({
      type: "string",
      maxLength: 9,
      pattern: "^[a-z]+$",
    });
    expect(structuralSchema(word, "words")).toEqual({
      type: "string",
      maxLength: 9,
      "x-kubernetes-validations": [{ rule: "self.matches(r'^[a-z]+$')", ...rule }],
    });
  });

  it("has a form for string or integer", () => {
    const schema = z.union([word, z.int().min(1).max(5)]).transform(String);
    expect(convert(schema)).toEqual({
      "x-kubernetes-int-or-string": true,
      maxLength: 9,
      minimum: 1,
      maximum: 5,
      "x-kubernetes-validations": [
        { rule: "type(self) != string || self.matches(r'^[a-z]+$')", ...rule },
      ],
    });
  });

  it.each<[string, z.ZodType]>([
    ["a union of objects", z.union([z.object({ a: z.int() }), z.object({ b: z.int() })])],
    ["a tuple", z.tuple([z.int(), z.int()])],
    ["a reference", z.object({ a: z.int().meta({ id: "a" }), b: z.int().meta({ id: "b" }) })],
    ["a pattern without words", z.string().regex(/^a$/)],
  ])("has no form for %s", (_, schema) => {
    expect(() => convert(schema)).toThrow();
  });
});

describe("the check of a schema", () => {
  const described = (schema: StructuralSchema): StructuralSchema => ({
    type: "object",
    properties: { a: { description: "A.", ...schema } },
  });

  it.each<[string, StructuralSchema, string]>([
    ["a node without type", described({}), "spec.a: no type"],
    ["an unbounded string", described({ type: "string" }), "spec.a: a string without maxLength"],
    [
      "an unbounded integer",
      described({ type: "integer", minimum: 0 }),
      "spec.a: an integer without minimum and maximum",
    ],
    [
      "an unbounded map",
      described({ type: "object", additionalProperties: { type: "boolean" } }),
      "spec.a: a map without maxProperties",
    ],
    [
      "an unbounded list",
      described({
        type: "array",
        items: { type: "boolean" },
        "x-kubernetes-list-type": "atomic",
      }),
      "spec.a: a list without maxItems",
    ],
    [
      "a list that does not say how it merges",
      described({ type: "array", items: { type: "boolean" }, maxItems: 1 }),
      "spec.a: a list without x-kubernetes-list-type",
    ],
    [
      "multipleOf on a float",
      described({ type: "number", multipleOf: 0.1 }),
      "spec.a: multipleOf on a number that is no integer",
    ],
    ["an empty object", described({ type: "object" }), "spec.a: an object without properties"],
    [
      "a field without description",
      { type: "object", properties: { a: { type: "boolean" } } },
      "spec.a: no description",
    ],
    [
      "a fault inside a list",
      described({
        type: "array",
        maxItems: 1,
        "x-kubernetes-list-type": "atomic",
        items: { type: "string" },
      }),
      "spec.a[]: a string without maxLength",
    ],
  ])("finds %s", (_, schema, fault) => {
    expect(schemaFaults(schema, "spec")).toEqual([fault]);
  });
});
