import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalDigest, canonicalJson, significant } from "./canonical.ts";

describe("canonical JSON", () => {
  it.each([
    ["sorts keys at every level", { b: { d: 1, c: 2 }, a: 3 }, '{"a":3,"b":{"c":2,"d":1}}'],
    ["omits absent keys", { a: undefined, b: 1 }, '{"b":1}'],
    ["keeps null, booleans and empty values", [null, true, "", {}, []], '[null,true,"",{},[]]'],
    ["keeps the order of lists", ["b", "a"], '["b","a"]'],
    ["rounds to 12 significant digits", 0.1 + 0.2, "0.3"],
    ["knows no negative zero", -0, "0"],
    ["spells small and large numbers as JavaScript does", [1e-7, 1e21], "[1e-7,1e+21]"],
    ["escapes as JSON does", 'a"\\\n\u0001é', '"a\\"\\\\\\n\\u0001é"'],
  ])("%s", (_, value, want) => {
    expect(canonicalJson(value)).toBe(want);
  });

  it.each([[Number.NaN], [Number.POSITIVE_INFINITY], [[undefined]], [() => 1], [1n]])(
    "refuses %s",
    (value) => {
      expect(() => canonicalJson(value)).toThrow(TypeError);
    },
  );

  it("does not depend on the order in which keys were written, and is JSON", () => {
    const member = fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.array(fc.integer()));
    fc.assert(
      fc.property(fc.dictionary(fc.string(), member, { noNullPrototype: true }), (value) => {
        const reversed = Object.fromEntries(Object.entries(value).reverse());
        expect(canonicalJson(reversed)).toBe(canonicalJson(value));
        expect(JSON.parse(canonicalJson(value))).toEqual(value);
      }),
    );
  });

  it("rounding is idempotent", () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        expect(significant(significant(value))).toBe(significant(value));
      }),
    );
  });

  it("has the digest that other programs compute", () => {
    // printf '{"a":1}' | sha256sum
    expect(canonicalDigest({ a: 1 })).toBe(
      "sha256:015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862",
    );
  });
});
