// A fake API server, a pretended Job controller and kubelet, and operators that may be killed at any write.

import type { DatasetReport } from "../../../api/dataset.ts";
import { annotation, label, MANAGED_BY } from "../../../api/group.ts";
import type { ProgressReport } from "../../../api/progress.ts";
import { RunFile } from "../../../api/run.ts";
import { publishedBy, report, settings } from "../../plan/testing/gen.ts";
import { CONTAINER } from "../../plan/trainerpod.ts";
import { isRecord, type KubeObject } from "../../runtime/object.ts";
import { keyOf } from "../../runtime/resource.ts";
import { FakeApiServer } from "../../runtime/testing/apiserver.ts";
import { claims, coreEvents, datasets, deepModels, jobs, modelVersions, pods } from "../kinds.ts";
import { type Controllers, type ControllersOptions, startControllers } from "../start.ts";

const untouched = (object: Readonly<Record<string, unknown>>): Record<string, unknown> => ({
  ...object,
  status: { observedGeneration: -1 },
});

export const startServer = (): Promise<FakeApiServer> =>
  FakeApiServer.start([
    { resource: datasets, defaults: untouched },
    { resource: deepModels, defaults: untouched },
    { resource: modelVersions, defaults: untouched },
    { resource: jobs },
    { resource: pods },
    { resource: claims },
    { resource: coreEvents, hasStatus: false },
  ]);

export interface Noted {
  kind: string;
  name: string;
  reason: string;
  note: string;
}

export type OperatorOptions = Pick<ControllersOptions, "nowMs" | "turns"> & {
  /** Of the trainer. */
  image?: string;
};

export class Operator {
  readonly controllers: Controllers;
  readonly events: Noted[] = [];
  readonly problems: unknown[] = [];

  private constructor(controllers: Controllers) {
    this.controllers = controllers;
  }

  static async start(server: FakeApiServer, options: OperatorOptions = {}): Promise<Operator> {
    const { image = settings.trainerImage, ...others } = options;
    const client = await server.client({ fieldManager: "deeptrain" });
    const events: Noted[] = [];
    const problems: unknown[] = [];
    const controllers = startControllers({
      client,
      settings: { ...settings, trainerImage: image },
      events: {
        emit: ({ kind, name }, { reason, note }) => {
          events.push({ kind, name, reason, note });
        },
      },
      log: {
        info: () => undefined,
        warn: (fields) => problems.push(fields),
        error: (fields) => problems.push(fields),
      },
      watch: { retry: { minMs: 5, maxMs: 20 } },
      ...others,
    });
    const operator = new Operator(controllers);
    Object.assign(operator, { events, problems });
    await controllers.synced;
    controllers.start();
    return operator;
  }

  readonly #dead = Promise.withResolvers<void>();

  /** Rejects when this operator dies, as a broken connection does. */
  async takeReport(report: ProgressReport): Promise<void> {
    const died = this.#dead.promise.then(() => {
      throw new Error("the connection is broken");
    });
    died.catch(() => undefined);
    await Promise.race([
      this.controllers.takeReport(report.uid, report, `pod-of-${report.attempt}`),
      died,
    ]);
  }

  stop(): Promise<void> {
    this.#dead.resolve();
    return this.controllers.stop();
  }
}

/** How a run is to go; default: it is published. */
export type Script = (run: RunFile) => { exitCode: number; record?: unknown } | "never-ends";

export const published: Script = () => ({ exitCode: 0 });

/** Gives every new Job a pod, reports for it, and ends it as the script says. */
export class Kubelet {
  readonly started: string[] = [];
  readonly #server: FakeApiServer;
  readonly #operator: () => Operator | undefined;
  readonly #stop: () => void;
  script: Script;
  data: DatasetReport = report();

  constructor(server: FakeApiServer, operator: () => Operator | undefined, script = published) {
    this.#server = server;
    this.#operator = operator;
    this.script = script;
    this.#stop = server.storage.onEntry(({ plural, type, object }) => {
      const isOurs = object.metadata.labels?.[label.managedBy] === MANAGED_BY;
      if (plural !== jobs.plural || type !== "ADDED" || !isOurs) return;
      this.started.push(object.metadata.name);
      setImmediate(() => void this.#run(object));
    });
  }

  stop(): void {
    this.#stop();
  }

  async #run(job: KubeObject): Promise<void> {
    const run = runOf(job);
    const how = this.script(run);
    const key = keyOf({ namespace: job.metadata.namespace ?? "", name: `${job.metadata.name}-p` });
    this.#server.put(pods, podOf(job, { running: { startedAt: new Date().toISOString() } }));
    if (how === "never-ends") return;
    if (run.task === "import" && how.exitCode === 0) await this.#report(run);
    const exists = () => this.#server.get(jobs, keyOf(plain(job))) !== undefined;
    if (!exists()) return;
    const message = how.record ?? (how.exitCode === 0 ? publishedBy(run, this.data) : undefined);
    this.#server.putStatus(
      pods,
      key,
      status(how.exitCode === 0 ? "Succeeded" : "Failed", {
        terminated: {
          exitCode: how.exitCode,
          reason: how.exitCode === 0 ? "Completed" : "Error",
          ...(message === undefined ? {} : { message: JSON.stringify(message) }),
        },
      }),
    );
    this.#server.putStatus(jobs, keyOf(plain(job)), {
      conditions: [
        how.exitCode === 0
          ? { type: "Complete", status: "True" }
          : { type: "Failed", status: "True", reason: "BackoffLimitExceeded", message: "failed" },
      ],
    });
  }

  /** As the importer does it: until it is acknowledged. */
  async #report(run: RunFile): Promise<void> {
    for (let sequence = 1; sequence < 500; sequence += 1) {
      const known = this.#operator()?.controllers.runOf(run.object.uid);
      if (known?.attempt === run.attempt && !known.finished && known.podUids.size > 0) {
        try {
          await this.#operator()?.takeReport({
            task: "import",
            uid: run.object.uid,
            attempt: run.attempt,
            sequence,
            event: { type: "report", report: this.data },
          });
          return;
        } catch {
          // The operator was killed before it was written.
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

const plain = ({ metadata }: KubeObject) => ({
  namespace: metadata.namespace ?? "",
  name: metadata.name,
});

const runOf = (job: KubeObject): RunFile => {
  const spec = isRecord(job.spec) ? job.spec : {};
  const template = isRecord(spec.template) ? spec.template : {};
  const metadata = isRecord(template.metadata) ? template.metadata : {};
  const annotations = isRecord(metadata.annotations) ? metadata.annotations : {};
  return RunFile.parse(JSON.parse(String(annotations[annotation.run])));
};

const podOf = (job: KubeObject, state: unknown): Record<string, unknown> => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: {
    name: `${job.metadata.name}-p`,
    namespace: job.metadata.namespace,
    labels: job.metadata.labels,
    ownerReferences: [
      {
        apiVersion: "batch/v1",
        kind: "Job",
        name: job.metadata.name,
        uid: job.metadata.uid,
        controller: true,
        blockOwnerDeletion: true,
      },
    ],
  },
  spec: { nodeName: "node-1" },
  status: status("Running", state),
});

const status = (phase: string, state: unknown): Record<string, unknown> => ({
  phase,
  conditions: [{ type: "PodScheduled", status: "True" }],
  containerStatuses: [{ name: CONTAINER, state }],
});
