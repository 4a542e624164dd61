// Wires caches, watches, controllers and the progress mailbox together.

import { label } from "../../api/group.ts";
import type { ProgressReport } from "../../api/progress.ts";
import type { Settings } from "../plan/plan.ts";
import type { Cache, Change, Stored } from "../runtime/cache.ts";
import type { Client } from "../runtime/client.ts";
import { Controller, type ControllerMetrics } from "../runtime/controller.ts";
import type { Events } from "../runtime/events.ts";
import { keyOf } from "../runtime/resource.ts";
import { Turns } from "../runtime/turns.ts";
import { Watch, type Watching, type WatchOptions } from "../runtime/watch.ts";
import { reconcileDataset } from "./dataset.ts";
import { reconcileDeepModel } from "./deepmodel.ts";
import { StoreClaims } from "./effects.ts";
import {
  labelled,
  modelsOfDataset,
  modelsOnModel,
  modelsOnVersion,
  ownersOf,
  siblings,
  versionsOfModel,
} from "./follow.ts";
import { type Caches, createCaches } from "./kinds.ts";
import { Mailbox } from "./mailbox.ts";
import { reconcileModelVersion } from "./modelversion.ts";
import { type Run, runOf } from "./runs.ts";
import type { Io, Log } from "./shell.ts";

export interface ControllersOptions {
  client: Client;
  events: Pick<Events, "emit">;
  settings: Settings;
  log: Log;
  metrics?: ControllerMetrics;
  /** Milliseconds since the epoch. Default: the system's clock. */
  nowMs?: () => number;
  /** Keys of one controller worked on at once. Default 16. */
  workers?: number;
  /** Default: 20 writes of progress a second, of all runs together. */
  turns?: Turns;
  /** For the five watches. */
  watch?: WatchOptions;
}

export interface Controllers {
  readonly caches: Caches;
  readonly controllers: readonly Controller[];
  readonly watches: readonly Watching[];
  /** Resolves when every cache holds its first whole list. */
  readonly synced: Promise<void>;
  /** For the progress endpoint: what is known of a run, by the UID of its object. */
  runOf(uid: string): Run | undefined;
  /** For the progress endpoint: resolves when the report is in the status. */
  takeReport(uid: string, report: ProgressReport, podUid: string): Promise<void>;
  /** Begins to work. Call it when `synced` has resolved and the Lease is held. */
  start(): void;
  /** Resolves when the reconciles in hand have ended and nothing is watched any more. */
  stop(): Promise<void>;
}

/** Starts the watches; `start` starts the work. */
export const startControllers = (options: ControllersOptions): Controllers => {
  const nowMs = options.nowMs ?? Date.now;
  const now = () => new Date(nowMs()).toISOString();
  const { client, log } = options;
  const caches = createCaches((err, key) => log.error({ err, key }, "a listener failed"));
  const mailbox = new Mailbox((uid) => wake(uid));
  const io: Io = {
    client,
    caches,
    claims: new StoreClaims(client),
    mailbox,
    events: options.events,
    settings: options.settings,
    log,
    now,
    turns: options.turns ?? new Turns(),
    progressWrittenMs: new Map(),
  };
  const { dataset, version, model } = createControllers(io, options);
  const wake = waker([
    [caches.datasets, dataset],
    [caches.versions, version],
  ]);
  forgetGone(io);
  tellProblems(io);
  const watches = startWatches(io, options.watch);
  const controllers = [dataset, version, model];
  return {
    caches,
    controllers,
    watches,
    synced: Promise.all(watches.map((watch) => watch.synced)).then(() => undefined),
    runOf: (uid) => runOf(caches, uid),
    takeReport: (uid, report, podUid) => mailbox.put(uid, { report, podUid, receivedAt: now() }),
    start: () => {
      for (const each of controllers) each.start();
    },
    stop: async () => {
      await Promise.all(controllers.map((each) => each.stop()));
      await Promise.all(watches.map((watch) => watch.stop()));
    },
  };
};

/** The three controllers, and what wakes them. */
const createControllers = (io: Io, { workers = 16, metrics }: ControllersOptions) => {
  const { caches, log } = io;
  const controller = (name: string, reconcile: ReturnType<typeof reconcileDataset>) =>
    new Controller({
      name,
      reconcile,
      workers,
      log,
      ...(metrics === undefined ? {} : { metrics }),
    });
  return {
    dataset: controller("dataset", reconcileDataset(io))
      .follow(caches.datasets)
      .follow(caches.jobs, ownersOf("Dataset"))
      .follow(caches.pods, labelled(label.dataset)),
    version: controller("modelversion", reconcileModelVersion(io))
      .follow(caches.versions)
      .follow(caches.models, versionsOfModel(caches))
      .follow(caches.jobs, siblings(caches))
      .follow(caches.pods, siblings(caches)),
    model: controller("deepmodel", reconcileDeepModel(io))
      .follow(caches.models)
      .follow(caches.models, modelsOnModel(caches))
      .follow(caches.versions, ownersOf("DeepModel"))
      .follow(caches.versions, modelsOnVersion(caches))
      .follow(caches.datasets, modelsOfDataset(caches)),
  };
};

const startWatches = ({ client, caches }: Io, options: WatchOptions | undefined) => [
  new Watch(client, caches.datasets, options).start(),
  new Watch(client, caches.models, options).start(),
  new Watch(client, caches.versions, options).start(),
  new Watch(client, caches.jobs, options).start(),
  new Watch(client, caches.pods, options).start(),
];

/** Puts the object of a UID in line, whose mail has come. */
const waker =
  (lines: ReadonlyArray<readonly [Pick<Cache<Stored>, "by">, Controller]>) =>
  (uid: string): void => {
    for (const [cache, { queue }] of lines) {
      for (const { metadata } of cache.by("uid", uid)) queue.add(keyOf(metadata));
    }
  };

const forgetGone = ({ caches, mailbox, progressWrittenMs, turns }: Io): void => {
  const forget = ({ before, after }: Change<Stored>): void => {
    if (before === undefined || after?.metadata.uid === before.metadata.uid) return;
    const { uid } = before.metadata;
    mailbox.forget(uid);
    progressWrittenMs.delete(uid);
    turns.forget(uid);
  };
  caches.datasets.onChange(forget);
  caches.versions.onChange(forget);
  caches.models.onChange(forget);
};

/** An object that cannot be read stops nothing but itself; it is said once for each version of it. */
const tellProblems = ({ caches, log }: Io): void => {
  const tell =
    (kind: string) =>
    ({ key, problem }: { key: string; problem?: string }): void => {
      if (problem !== undefined) log.warn({ kind, key, problem }, "an object cannot be read");
    };
  caches.datasets.onChange(tell("Dataset"));
  caches.models.onChange(tell("DeepModel"));
  caches.versions.onChange(tell("ModelVersion"));
};
