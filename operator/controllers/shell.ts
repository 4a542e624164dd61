// The shell around every planner: gather, plan, apply, and write the status only where it differs.

import { canonicalJson } from "../../api/canonical.ts";
import type { ObjectMeta } from "../../api/objectmeta.ts";
import { dueInMs, type Mail } from "../plan/mail.ts";
import { type EventNote, type Plan, type Refusal, type Settings, sooner } from "../plan/plan.ts";
import { isConflict, isNotFound } from "../runtime/apierror.ts";
import { type Client, typeOf } from "../runtime/client.ts";
import type { Next } from "../runtime/controller.ts";
import type { Events } from "../runtime/events.ts";
import { isRecord } from "../runtime/object.ts";
import type { Resource } from "../runtime/resource.ts";
import { applyEffects, type StoreClaims } from "./effects.ts";
import type { Caches } from "./kinds.ts";
import type { Mailbox } from "./mailbox.ts";

export interface Log {
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
  error(fields: Readonly<Record<string, unknown>>, message: string): void;
}

export interface Io {
  client: Client;
  caches: Caches;
  claims: StoreClaims;
  mailbox: Mailbox;
  events: Pick<Events, "emit">;
  settings: Settings;
  log: Log;
  /** RFC 3339, in UTC. */
  now: () => string;
  /** When progress of an object was last written, by UID: milliseconds since the epoch. */
  progressWrittenMs: Map<string, number>;
}

interface Owned<Status> {
  metadata: ObjectMeta;
  status?: Status | undefined;
}

/** What one kind brings to the shell. */
export interface Kind<T extends Owned<Status>, Status> {
  resource: Resource;
  /** The object as it is now; undefined where it is gone. */
  get: () => T | undefined;
  /** Gathers, and plans. Called again after a create, and after a refusal. */
  plan: (object: T, refusals: readonly Refusal[], mails: readonly Mail[]) => Promise<Plan<Status>>;
}

/** A create shows in the next plan; that plan may create once more (a claim, then a Job), and no more. */
const ROUNDS = 4;
const CONFLICT_AGAIN_MS = 50;

export const reconcile = async <T extends Owned<Status>, Status>(
  io: Io,
  kind: Kind<T, Status>,
): Promise<Next | undefined> => {
  const first = kind.get();
  if (first === undefined) return undefined;
  const { uid } = first.metadata;
  const waiting = io.mailbox.read(uid);
  const dueMs = dueInMs(waiting, io.progressWrittenMs.get(uid), Date.parse(io.now()));
  const mails = dueMs === 0 ? waiting : [];
  const plan = await settle(io, kind, mails);
  const object = kind.get();
  if (plan === undefined || object === undefined || object.metadata.uid !== uid) return undefined;
  const laterMs = dueMs === 0 ? undefined : dueMs;
  if (plan.status !== undefined && differs(object.status, plan.status)) {
    const isWritten = await writeStatus(io, kind.resource, object, plan.status);
    if (!isWritten) return { afterMs: CONFLICT_AGAIN_MS };
    tell(io, kind.resource, object.metadata, plan.events);
  }
  if (mails.length > 0) {
    io.progressWrittenMs.set(uid, Date.parse(io.now()));
    io.mailbox.settle(uid, mails);
  }
  const afterMs = sooner(plan.nextMs, laterMs);
  return afterMs === undefined ? undefined : { afterMs };
};

/** Plans and applies until a plan creates nothing more: the last one is what the status is written from. */
const settle = async <T extends Owned<Status>, Status>(
  io: Io,
  kind: Kind<T, Status>,
  mails: readonly Mail[],
): Promise<Plan<Status> | undefined> => {
  let refusals: Refusal[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const object = kind.get();
    if (object === undefined) return undefined;
    const plan = await kind.plan(object, refusals, mails);
    if (plan.effects.length === 0) return plan;
    const applied = await applyEffects(io.client, io.caches, plan.effects);
    if (!applied.created && applied.refusals.length === 0) return plan;
    refusals = applied.refusals;
  }
  throw new Error(`${kind.resource.kind}: the plan does not settle`);
};

const differs = (before: unknown, after: unknown): boolean =>
  canonicalJson(before ?? {}) !== canonicalJson(after);

const writeStatus = async (
  io: Io,
  resource: Resource,
  { metadata, status: before }: { metadata: ObjectMeta; status?: unknown },
  status: unknown,
): Promise<boolean> => {
  const { name, namespace, resourceVersion } = metadata;
  // Numbers that move while nothing changes may wait their turn behind what does.
  const isProgress = !differs(conditionsOf(before), conditionsOf(status));
  try {
    await io.client.replaceStatus(
      resource,
      { ...typeOf(resource), metadata: { name, namespace, resourceVersion }, status },
      { lane: isProgress ? "progress" : "lifecycle" },
    );
    return true;
  } catch (error) {
    // Changed or gone meanwhile: the next look is at what is there then.
    if (isConflict(error) || isNotFound(error)) return false;
    throw error;
  }
};

const conditionsOf = (status: unknown): unknown =>
  isRecord(status) ? (status.conditions ?? []) : [];

const tell = (
  io: Io,
  resource: Resource,
  { namespace, name, uid }: ObjectMeta,
  events: readonly EventNote[],
): void => {
  const { apiVersion, kind } = typeOf(resource);
  for (const { type, reason, message } of events) {
    io.events.emit(
      { apiVersion, kind, namespace, name, uid },
      { type, reason, action: "Reconcile", note: message },
    );
    io.log.info({ kind, namespace, name, reason }, message);
  }
};
