// The shell around every planner: gather, plan, apply, and write the status only where it differs.

import { canonicalJson } from "../../api/canonical.ts";
import type { ObjectMeta } from "../../api/objectmeta.ts";
import { dueInMs, isAwaited, type Mail, type Shown } from "../plan/mail.ts";
import { type EventNote, type Plan, type Refusal, type Settings, sooner } from "../plan/plan.ts";
import {
  type ApiError,
  isConflict,
  isNotFound,
  isRefused,
  isThrottled,
  isTooLarge,
} from "../runtime/apierror.ts";
import { type Client, type Lane, typeOf } from "../runtime/client.ts";
import type { Next } from "../runtime/controller.ts";
import type { Events } from "../runtime/events.ts";
import type { Resource } from "../runtime/resource.ts";
import type { Turns } from "../runtime/turns.ts";
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
  /** Whose progress may be written now. */
  turns: Turns;
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
  /** Gathers, and plans. Called again after a create, after a refusal, and with reports. */
  plan: (object: T, refusals: readonly Refusal[], mails: readonly Mail[]) => Promise<Plan<Status>>;
  /** What the status tells of a run. */
  shown?: (status: Status | undefined) => Shown;
  /** The status without what may come late: only reports move it. */
  withoutProgress: (status: Status) => unknown;
  /** UID of the object that shows this one's progress in its own status: a second write. */
  shownBy?: (object: T) => string;
}

/** A create shows in the next plan; that plan may create once more (a claim, then a Job), and no more. */
const ROUNDS = 4;
const CONFLICT_AGAIN_MS = 50;
const THROTTLED_MS = 1_000;

/**
 * One look at one object. What is decided is written as fast as it can be; mere progress only when it has its turn,
 * and until then its reports stay where they are: nothing waits here.
 */
export const reconcile = async <T extends Owned<Status>, Status>(
  io: Io,
  kind: Kind<T, Status>,
): Promise<Next | undefined> => {
  const first = kind.get();
  if (first === undefined) return undefined;
  const { uid } = first.metadata;
  const waiting = io.mailbox.read(uid);
  const dueMs = dueInMs(
    waiting,
    kind.shown?.(first.status) ?? {},
    io.progressWrittenMs.get(uid),
    Date.parse(io.now()),
  );
  const awaited = dueMs === 0 ? waiting.filter(({ report }) => isAwaited(report)) : [];
  const settled = await settle(io, kind, awaited);
  const object = kind.get();
  if (settled === undefined || object === undefined || object.metadata.uid !== uid) {
    return undefined;
  }
  const draft = await withReports(io, kind, object, { ...settled, mails: awaited }, dueMs === 0);
  const next = await write(io, kind, object, draft);
  return soonest(next, dueMs === 0 ? undefined : dueMs, draft.plan.nextMs);
};

const soonest = (...waits: Array<number | undefined>): Next | undefined => {
  const afterMs = waits.reduce(sooner, undefined);
  return afterMs === undefined ? undefined : { afterMs };
};

interface Draft<Status> {
  plan: Plan<Status>;
  /** The reports that the status of this plan tells. */
  mails: readonly Mail[];
  /** Something is decided, so the status does not wait for a turn. */
  isDecision: boolean;
}

/** Where reports are due, or the status is written anyhow, it tells all that have come. */
const withReports = async <T extends Owned<Status>, Status>(
  io: Io,
  kind: Kind<T, Status>,
  object: T,
  { plan, mails, refusals }: Settled<Status> & { mails: readonly Mail[] },
  areDue: boolean,
): Promise<Draft<Status>> => {
  const decides = (status: Status | undefined): boolean =>
    status !== undefined &&
    differs(object.status && kind.withoutProgress(object.status), kind.withoutProgress(status));
  const isDecision = decides(plan.status);
  const all = io.mailbox.read(object.metadata.uid);
  if (all.length === mails.length || !(areDue || isDecision)) return { plan, mails, isDecision };
  const told = await kind.plan(object, refusals, all);
  // What only the lack of news decided, news takes back.
  return { plan: told, mails: all, isDecision: isDecision && decides(told.status) };
};

/** Writes the status where it differs. Milliseconds until the next try, where it could not be written now. */
const write = async <T extends Owned<Status>, Status>(
  io: Io,
  kind: Kind<T, Status>,
  object: T,
  { plan, mails, isDecision }: Draft<Status>,
): Promise<number | undefined> => {
  const { uid } = object.metadata;
  if (plan.status !== undefined && differs(object.status, plan.status)) {
    const waitMs = isDecision ? 0 : takeTurn(io, uid, kind.shownBy?.(object));
    if (waitMs > 0) return waitMs;
    const failedMs = await writeStatus(io, kind.resource, object, {
      status: plan.status,
      mails,
      lane: isDecision ? "lifecycle" : "progress",
    });
    if (failedMs !== undefined) return failedMs;
    tell(io, kind.resource, object.metadata, plan.events);
  }
  if (mails.length > 0) {
    io.progressWrittenMs.set(uid, Date.parse(io.now()));
    io.mailbox.settle(uid, mails);
    if (isDecision) io.turns.forget(uid);
  }
  return undefined;
};

/** 0: it may be written now, and so may the object that shows it. */
const takeTurn = (io: Io, uid: string, shownBy: string | undefined): number => {
  const waitMs = io.turns.ask(uid, shownBy === undefined ? 1 : 2);
  if (waitMs === 0 && shownBy !== undefined) io.turns.give(shownBy);
  return waitMs;
};

interface Settled<Status> {
  plan: Plan<Status>;
  refusals: readonly Refusal[];
}

/** Plans and applies until a plan creates nothing more: the last one is what the status is written from. */
const settle = async <T extends Owned<Status>, Status>(
  io: Io,
  kind: Kind<T, Status>,
  mails: readonly Mail[],
): Promise<Settled<Status> | undefined> => {
  let refusals: Refusal[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const object = kind.get();
    if (object === undefined) return undefined;
    const plan = await kind.plan(object, refusals, mails);
    if (plan.effects.length === 0) return { plan, refusals };
    const applied = await applyEffects(io.client, io.caches, plan.effects);
    if (!applied.created && applied.refusals.length === 0) return { plan, refusals };
    refusals = applied.refusals;
  }
  throw new Error(`${kind.resource.kind}: the plan does not settle`);
};

const differs = (before: unknown, after: unknown): boolean =>
  canonicalJson(before ?? {}) !== canonicalJson(after);

/** Undefined: written. Otherwise the milliseconds until it should be tried again. */
const writeStatus = async (
  io: Io,
  resource: Resource,
  { metadata }: { metadata: ObjectMeta },
  { status, mails, lane }: { status: unknown; mails: readonly Mail[]; lane: Lane },
): Promise<number | undefined> => {
  const { uid, name, namespace, resourceVersion } = metadata;
  const manifest = { ...typeOf(resource), metadata: { name, namespace, resourceVersion }, status };
  try {
    await io.client.replaceStatus(resource, manifest, { lane });
    return undefined;
  } catch (error) {
    // Changed or gone meanwhile: the next look is at what is there then.
    const isStale = isConflict(error) || isNotFound(error);
    if (lane === "progress" && (isStale || isThrottled(error))) io.turns.give(uid);
    if (isStale) return CONFLICT_AGAIN_MS;
    if (lane === "progress" && isThrottled(error)) {
      const pauseMs = (error.retryAfterSeconds ?? 0) * 1000 || THROTTLED_MS;
      io.turns.pause(pauseMs);
      return pauseMs;
    }
    if (isRefused(error) || isTooLarge(error)) {
      tellRefused(io, resource, metadata, error);
      io.mailbox.refuse(uid, mails, error);
    }
    throw error;
  }
};

/** The status cannot say it, so an event does; it is tried again after a growing pause, without these reports. */
const tellRefused = (io: Io, resource: Resource, metadata: ObjectMeta, error: ApiError): void => {
  const message = `the API server refuses the status: ${error.message}; are the CRDs and the rights of this release applied?`;
  tell(io, resource, metadata, [{ type: "Warning", reason: "StatusRefused", message }]);
};

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
