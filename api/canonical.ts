// Canonical JSON: one spelling for each value, so that equal values have equal digests, in every release and in
// every language.

import { createHash } from "node:crypto";

/** Rounds to 12 significant digits; -0 becomes 0. */
export const significant = (value: number): number => Number(value.toPrecision(12)) + 0;

/**
 * Keys sorted by UTF-16 code unit, keys whose value is undefined omitted, no white space, numbers rounded to 12
 * significant digits and spelled as JSON.stringify does. In Python, where all numbers are integers:
 * `json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)`.
 *
 * @throws TypeError on what JSON cannot say: NaN, infinities, functions, undefined inside a list.
 */
export const canonicalJson = (value: unknown): string => {
  if (value === null || typeof value === "boolean" || typeof value === "string")
    return JSON.stringify(value);
  if (typeof value === "number") {
    if (!Number.isFinite(value)) throw new TypeError(`Not a number that JSON can say: ${value}`);
    return JSON.stringify(significant(value));
  }
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (typeof value !== "object") throw new TypeError(`Not a value that JSON can say: ${value}`);
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, member]) => `${JSON.stringify(key)}:${canonicalJson(member)}`);
  return `{${members.join(",")}}`;
};

/** `sha256:` and the hexadecimal SHA-256 of the value's canonical JSON in UTF-8. */
export const canonicalDigest = (value: unknown): string =>
  `sha256:${createHash("sha256").update(canonicalJson(value), "utf8").digest("hex")}`;
