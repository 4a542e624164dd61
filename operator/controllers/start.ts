// Wires caches, watches, controllers and the progress mailbox together.

import { label } from "../../api/group.ts";
import type { ProgressReport } from "../../api/progress.ts";
import type { Settings } from "../plan/plan.ts";
import type { Client } from "../runtime/client.ts";
import { Controller, type ControllerMetrics } from "../runtime/controller.ts";
import type { Events } from "../runtime/events.ts";
import { Watch, type WatchOptions } from "../runtime/watch.ts";
import { reconcileDataset } from "./dataset.ts";
import { reconcileDeepModel } from "./deepmodel.ts";
import { StoreClaims } from "./effects.ts";
import { labelled, modelsOfDataset, ownersOf, siblings, versionsOfModel } from "./follow.ts";
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
  /** For the five watches. */
  watch?: WatchOptions;
}

export interface Controllers {
  readonly caches: Caches;
  readonly controllers: readonly Controller[];
  readonly watches: ReadonlyArray<{
    readonly silentMs: number;
    readonly problem: string | undefined;
  }>;
  /** Resolves when every cache holds its first whole list. */
  readonly synced: Promise<void>;
  /** For the progress endpoint: what is known of a run, by the UID of its object. */
  runOf(uid: string): Run | undefined;
  /** For the progress endpoint: resolves when the report is in the status. */
  takeReport(uid: string, report: ProgressReport): Promise<void>;
  /** Begins to work. Call it when `synced` has resolved and the Lease is held. */
  start(): void;
  /** Resolves when the reconciles in hand have ended and nothing is watched any more. */
  stop(): Promise<void>;
}

/** Starts the watches; `start` starts the work. */
export const startControllers = (options: ControllersOptions): Controllers => {
  const { client, log } = options;
  const nowMs = options.nowMs ?? Date.now;
  const now = () => new Date(nowMs()).toISOString();
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
    progressWrittenMs: new Map(),
  };
  const controller = (name: string, reconcile: (key: string) => ReturnType<Reconcile>) =>
    new Controller({
      name,
      reconcile,
      workers: options.workers ?? 16,
      log,
      ...(options.metrics === undefined ? {} : { metrics: options.metrics }),
    });
  const dataset = controller("dataset", reconcileDataset(io))
    .follow(caches.datasets)
    .follow(caches.jobs, ownersOf("Dataset"))
    .follow(caches.pods, labelled(label.dataset));
  const version = controller("modelversion", reconcileModelVersion(io))
    .follow(caches.versions)
    .follow(caches.models, versionsOfModel(caches))
    .follow(caches.jobs, siblings(caches))
    .follow(caches.pods, siblings(caches));
  const model = controller("deepmodel", reconcileDeepModel(io))
    .follow(caches.models)
    .follow(caches.versions, ownersOf("DeepModel"))
    .follow(caches.datasets, modelsOfDataset(caches));
  const wake = (uid: string): void => {
    for (const [cache, { queue }] of [
      [caches.datasets, dataset],
      [caches.versions, version],
    ] as const) {
      for (const { metadata } of cache.by("uid", uid)) {
        queue.add(`${metadata.namespace}/${metadata.name}`);
      }
    }
  };
  forgetGone(io);
  tellProblems(io);
  const watches = [
    new Watch(client, caches.datasets, options.watch),
    new Watch(client, caches.models, options.watch),
    new Watch(client, caches.versions, options.watch),
    new Watch(client, caches.jobs, options.watch),
    new Watch(client, caches.pods, options.watch),
  ];
  for (const watch of watches) watch.start();
  const controllers = [dataset, version, model];
  return {
    caches,
    controllers,
    watches,
    synced: Promise.all(watches.map((watch) => watch.synced)).then(() => undefined),
    runOf: (uid) => runOf(caches, uid),
    takeReport: (uid, report) => mailbox.put(uid, report, now()),
    start: () => {
      for (const each of controllers) each.start();
    },
    stop: async () => {
      await Promise.all(controllers.map((each) => each.stop()));
      await Promise.all(watches.map((watch) => watch.stop()));
    },
  };
};

type Reconcile = ReturnType<typeof reconcileDataset>;

const forgetGone = ({ caches, mailbox, progressWrittenMs }: Io): void => {
  const forget = (uid: string) => {
    mailbox.forget(uid);
    progressWrittenMs.delete(uid);
  };
  caches.datasets.onChange(({ before, after }) => {
    if (before !== undefined && after?.metadata.uid !== before.metadata.uid) {
      forget(before.metadata.uid);
    }
  });
  caches.versions.onChange(({ before, after }) => {
    if (before !== undefined && after?.metadata.uid !== before.metadata.uid) {
      forget(before.metadata.uid);
    }
  });
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
