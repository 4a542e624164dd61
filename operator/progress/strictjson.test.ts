import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseStrictJson } from "./strictjson.ts";

const parse = (text: string) => parseStrictJson(Buffer.from(text));

describe("strict JSON", () => {
  it.each([
    ["an object", '{"a":[1,-0,1.5e3,true,null,"x"],"b":{"a":"\\u00e9\\n"}}'],
    ["the same key in two objects", '{"a":{"k":1},"b":{"k":1},"c":[{"k":1},{"k":2}]}'],
    ["a string that looks like a key", '{"a":"b","c":["a:","a",":"],"d":"\\":"}'],
    ["white space", ' {\n "a" \t: 1 } '],
    ["a key named toString", '{"toString":1,"constructor":2}'],
  ])("takes %s", (_, text) => {
    expect(parse(text)).toEqual({ ok: true, value: JSON.parse(text) });
  });

  it.each([
    ["nothing", ""],
    ["trailing data", '{"a":1} {"b":2}'],
    ["two values", "1 2"],
    ["NaN", '{"a":NaN}'],
    ["Infinity", '{"a":-Infinity}'],
    ["a number beyond all bounds", '{"a":1e400}'],
    ["a deep number beyond all bounds", '{"a":[{"b":-1e999}]}'],
    ["a repeated key", '{"a":1,"b":2,"a":3}'],
    ["a repeated key behind an escape", '{"a":1,"\\u0061":3}'],
    ["a repeated key in a list", '[{"a":1,"a":1}]'],
    ["a repeated key with space before its colon", '{"a":1,"a"  \n :3}'],
    ["__proto__", '{"__proto__":{"x":1}}'],
    ["__proto__ behind an escape", '{"\\u005f_proto__":1}'],
    ["a deep list", "[".repeat(17) + "]".repeat(17)],
    ["a very deep list", "[".repeat(100_000)],
    ["a very deep object", '{"a":'.repeat(10_000)],
    ["comments", '{"a":1 /* x */}'],
    ["single quotes", "{'a':1}"],
    ["NUL in a string", '{"a":"x\\u0000y"}'],
    ["half of a character", '{"a":"\\ud800"}'],
    ["a raw control character", '{"a":"\n"}'],
    ["a byte order mark", '\ufeff{"a":1}'],
  ])("refuses %s", (_, text) => {
    expect(parse(text).ok).toBe(false);
  });

  it("refuses what is not UTF-8", () => {
    expect(parseStrictJson(Buffer.from([0x22, 0xff, 0xfe, 0x22])).ok).toBe(false);
  });

  it("pollutes no prototype", () => {
    parse('{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}');
    expect(Reflect.get({}, "polluted")).toBeUndefined();
  });

  it("agrees with JSON.parse on everything that JSON.stringify makes", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5, noUnicodeString: false }), (value) => {
        const text = JSON.stringify(value);
        const parsed = parse(text);
        const isOdd = text.includes("\\u0000") || text.includes("__proto__");
        if (parsed.ok) expect(parsed.value).toEqual(JSON.parse(text));
        else expect(isOdd || !text.isWellFormed() || /\\ud[89a-f]/.test(text)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it("never throws, whatever comes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(typeof parseStrictJson(bytes).ok).toBe("boolean");
      }),
      { numRuns: 1_000 },
    );
  });

  it("takes little time for much input", () => {
    const many = JSON.stringify(
      Object.fromEntries(Array.from({ length: 9_000 }, (_, n) => [`k${n}`, n])),
    );
    const startedAt = performance.now();
    expect(parse(many).ok).toBe(true);
    expect(parse(`{"a":"${" ".repeat(190_000)}"}`).ok).toBe(true);
    expect(performance.now() - startedAt).toBeLessThan(500);
  });
});
