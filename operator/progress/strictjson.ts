// JSON from strangers: refused where two readers could understand it differently, or where it could hurt.

import { TextDecoder } from "node:util";

export type StrictJson =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly problem: string };

/** Levels of objects and arrays. A progress report has five. */
const MAX_DEPTH = 16;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * The value of one JSON text in UTF-8. Refused: anything after it, keys that repeat, `__proto__`, nesting beyond
 * 16 levels, numbers that are not finite, NUL and halves of characters in strings.
 */
export const parseStrictJson = (bytes: Uint8Array): StrictJson => {
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    return refused("not UTF-8");
  }
  // Before JSON.parse, so that depth costs nothing.
  if (isTooDeep(text)) return refused("nested too deeply");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return refused("not JSON");
  }
  if (hasBadKey(text)) return refused("a key repeats, or is not allowed");
  return isSound(value) ? { ok: true, value } : refused("a value that is not allowed");
};

const refused = (problem: string): StrictJson => ({ ok: false, problem });

const isTooDeep = (text: string): boolean => {
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (character === '"') at = endOfString(text, at);
    else if (character === "{" || character === "[") {
      depth += 1;
      if (depth > MAX_DEPTH) return true;
    } else if (character === "}" || character === "]") depth -= 1;
  }
  return false;
};

/** Index of the closing quote of the string that begins at `start`. */
const endOfString = (text: string, start: number): number => {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at;
};

/** `text` is JSON already: a string followed by a colon is a key of the innermost object. */
const hasBadKey = (text: string): boolean => {
  const open: Array<Set<string>> = [];
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (character === "{" || character === "[") open.push(new Set());
    else if (character === "}" || character === "]") open.pop();
    else if (character === '"') {
      const end = endOfString(text, at);
      if (/^\s*:/.test(text.slice(end + 1, end + 64))) {
        const key = String(JSON.parse(text.slice(at, end + 1)));
        const keys = open.at(-1);
        if (key === "__proto__" || keys === undefined || keys.has(key)) return true;
        keys.add(key);
      }
      at = end;
    }
  }
  return false;
};

const isSound = (value: unknown): boolean => {
  if (typeof value === "number") return Number.isFinite(value);
  if (typeof value === "string") return value.isWellFormed() && !value.includes("\0");
  if (Array.isArray(value)) return value.every(isSound);
  if (typeof value === "object" && value !== null) {
    return Object.entries(value).every(([key, part]) => isSound(key) && isSound(part));
  }
  return true;
};
