// How patches change objects: JSON merge patch, and what server-side apply does for one manager with atomic lists.

import { isRecord } from "../object.ts";

/** RFC 7396. */
export const mergePatch = (target: unknown, patch: unknown): unknown => {
  if (!isRecord(patch)) return patch;
  const merged: Record<string, unknown> = isRecord(target) ? { ...target } : {};
  for (const [field, value] of Object.entries(patch)) {
    if (value === null) delete merged[field];
    else merged[field] = mergePatch(merged[field], value);
  }
  return merged;
};

/** Fields of `applied` are set; those that `before` (the manager's last configuration) had and `applied` lacks go. */
export const applyPatch = (target: unknown, applied: unknown, before: unknown): unknown => {
  if (!isRecord(applied)) return applied;
  const merged: Record<string, unknown> = isRecord(target) ? { ...target } : {};
  const owned = isRecord(before) ? before : {};
  for (const field of Object.keys(owned)) {
    if (field in applied) continue;
    const rest = withoutOwned(merged[field], owned[field]);
    if (rest === undefined) delete merged[field];
    else merged[field] = rest;
  }
  for (const [field, value] of Object.entries(applied)) {
    merged[field] = applyPatch(merged[field], value, owned[field]);
  }
  return merged;
};

const withoutOwned = (value: unknown, owned: unknown): unknown => {
  if (!isRecord(value) || !isRecord(owned)) return undefined;
  const rest: Record<string, unknown> = {};
  for (const [field, part] of Object.entries(value)) {
    const kept = field in owned ? withoutOwned(part, owned[field]) : part;
    if (kept !== undefined) rest[field] = kept;
  }
  return Object.keys(rest).length === 0 ? undefined : rest;
};

/** Equal as JSON, whatever the order of fields. */
export const isSame = (a: unknown, b: unknown): boolean => {
  if (a === b) return true;
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((item, at) => isSame(item, b[at]));
  }
  if (!isRecord(a) || !isRecord(b)) return false;
  const fields = Object.keys(a);
  return (
    fields.length === Object.keys(b).length &&
    fields.every((field) => field in b && isSame(a[field], b[field]))
  );
};
