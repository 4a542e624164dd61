// A cluster in memory with a clock of its own: the planners, what their effects do, and Jobs that end as a script says.
// Nothing here waits, so a test can play hours of a model's life in milliseconds.

import { canonicalJson } from "../../../api/canonical.ts";
import { Dataset, type DatasetReport } from "../../../api/dataset.ts";
import { DeepModel } from "../../../api/deepmodel.ts";
import { annotation } from "../../../api/group.ts";
import { ModelVersion } from "../../../api/modelversion.ts";
import { RunFile } from "../../../api/run.ts";
import type { BaseWorld } from "../base.ts";
import { planDataset } from "../dataset.ts";
import { planDeepModel } from "../deepmodel.ts";
import { Job, type Pod } from "../kubernetes.ts";
import type { Mail } from "../mail.ts";
import { planVersion } from "../modelversion.ts";
import type { Effect, Plan } from "../plan.ts";
import { isFinished } from "../podstate.ts";
import { complete, failed, pod, publishedBy, report, settings, T0 } from "./gen.ts";

/** How a run ends, or that it goes on. */
export type Ending =
  | { exit: 0 }
  | { exit: number; reason?: string; record?: { reason: string; message: string } }
  | "runs";

type Stored = Dataset | DeepModel | ModelVersion;

export class Simulation {
  nowMs = Date.parse(T0);
  readonly datasets = new Map<string, Dataset>();
  readonly models = new Map<string, DeepModel>();
  readonly versions = new Map<string, ModelVersion>();
  readonly jobs = new Map<string, { job: Job; run: RunFile; pod: Pod | undefined }>();
  /** Every Job that was ever created. */
  readonly created: string[] = [];
  /** Writes of status, creates and deletes. */
  writes = 0;
  data: DatasetReport = report();
  ending: (run: RunFile, job: Job) => Ending = () => ({ exit: 0 });
  /** Order in which keys are looked at. */
  shuffle: <T>(items: T[]) => T[] = (items) => items;
  #uid = 0;

  get now(): string {
    return new Date(this.nowMs).toISOString();
  }

  /** Creates a Dataset or DeepModel, or changes its spec and annotations: a change of spec is a new generation. */
  apply(kind: "Dataset" | "DeepModel", name: string, spec: object, annotations = {}): void {
    const store = kind === "Dataset" ? this.datasets : this.models;
    const old = store.get(name);
    const isSame = old !== undefined && canonicalJson(old.spec) === canonicalJson(spec);
    const generation = (old?.metadata.generation ?? 0) + (isSame ? 0 : 1);
    const object = {
      metadata: { ...(old?.metadata ?? this.#metadata(name)), generation, annotations },
      spec,
      status: old?.status ?? { observedGeneration: -1 },
    };
    if (kind === "Dataset") this.datasets.set(name, Dataset.parse(object));
    else this.models.set(name, DeepModel.parse(object));
  }

  #metadata(name: string) {
    this.#uid += 1;
    return {
      name,
      namespace: "shop",
      uid: `uid-${this.#uid}-${name}`,
      resourceVersion: "1",
      creationTimestamp: this.now,
    };
  }

  /** Plays until nothing happens any more, or until `limitMs` of simulated time have passed. */
  settle(limitMs = 3_600_000): void {
    const until = this.nowMs + limitMs;
    for (let pass = 0; pass < 500; pass += 1) {
      const { changed, nextMs } = this.#pass();
      if (changed || this.#endJobs()) continue;
      if (nextMs === undefined || this.nowMs + nextMs > until) return;
      this.nowMs += Math.max(1, nextMs);
    }
    throw new Error("the simulation does not come to rest");
  }

  #pass(): { changed: boolean; nextMs: number | undefined } {
    let changed = false;
    let nextMs: number | undefined;
    const look = <S extends Stored>(
      store: Map<string, S>,
      name: string,
      plan: (object: S) => Plan<unknown>,
    ) => {
      const object = store.get(name);
      if (object === undefined) return;
      const planned = plan(object);
      for (const effect of planned.effects) this.#effect(effect);
      const isDifferent =
        planned.status !== undefined &&
        canonicalJson(object.status) !== canonicalJson(planned.status);
      if (isDifferent) {
        store.set(name, { ...object, status: planned.status });
        this.writes += 1;
      }
      changed ||= isDifferent || planned.effects.length > 0;
      if (planned.nextMs !== undefined) nextMs = Math.min(nextMs ?? Infinity, planned.nextMs);
    };
    const keys = this.shuffle([
      ...[...this.datasets.keys()].map((name) => ["Dataset", name] as const),
      ...[...this.models.keys()].map((name) => ["DeepModel", name] as const),
      ...[...this.versions.keys()].map((name) => ["ModelVersion", name] as const),
    ]);
    for (const [kind, name] of keys) {
      if (kind === "Dataset") look(this.datasets, name, (object) => this.#planDataset(object));
      else if (kind === "DeepModel") look(this.models, name, (object) => this.#planModel(object));
      else look(this.versions, name, (object) => this.#planVersion(object));
    }
    return { changed, nextMs };
  }

  #owned(uid: string) {
    return [...this.jobs.values()].filter(
      ({ job }) => job.metadata.ownerReferences?.[0]?.uid === uid,
    );
  }

  #planDataset(dataset: Dataset): Plan<unknown> {
    const own = this.#owned(dataset.metadata.uid);
    const mails: Mail[] = own.map(({ run }) => ({
      podUid: `uid-pod-${run.attempt}`,
      receivedAt: this.now,
      report: {
        task: "import",
        uid: dataset.metadata.uid,
        attempt: run.attempt,
        sequence: 1,
        event: { type: "report", report: this.data },
      },
    }));
    return planDataset({
      dataset,
      jobs: own.map(({ job }) => job),
      pods: own.flatMap((each) => each.pod ?? []),
      events: [],
      claim: undefined,
      mails,
      refusals: [],
      settings,
      now: this.now,
    });
  }

  #versionsOf(model: DeepModel): ModelVersion[] {
    return [...this.versions.values()].filter(({ spec }) => spec.model.uid === model.metadata.uid);
  }

  #baseOf(model: DeepModel): BaseWorld {
    const chain: DeepModel[] = [];
    let next = this.models.get(model.spec.base?.modelRef?.name ?? "");
    while (next !== undefined && !chain.includes(next)) {
      chain.push(next);
      next = this.models.get(next.spec.base?.modelRef?.name ?? "");
    }
    return { chain, versions: chain[0] === undefined ? [] : this.#versionsOf(chain[0]) };
  }

  #planModel(model: DeepModel): Plan<unknown> {
    const { name } = model.metadata;
    return planDeepModel({
      model,
      base: this.#baseOf(model),
      users: {
        models: [...this.models.values()].filter(({ spec }) => spec.base?.modelRef?.name === name),
        versions: [...this.versions.values()].filter(({ spec }) => spec.base.model?.name === name),
      },
      dataset: this.datasets.get(model.spec.datasetRef.name),
      versions: this.#versionsOf(model),
      refusals: [],
      now: this.now,
    });
  }

  #planVersion(version: ModelVersion): Plan<unknown> {
    const own = this.#owned(version.metadata.uid);
    const siblings = [...this.versions.values()].filter(
      ({ metadata, spec }) =>
        spec.model.uid === version.spec.model.uid && metadata.uid !== version.metadata.uid,
    );
    return planVersion({
      version,
      model: this.models.get(version.spec.model.name),
      jobs: own.map(({ job }) => job),
      pods: own.flatMap((each) => each.pod ?? []),
      siblingJobs: siblings.flatMap(({ metadata }) =>
        this.#owned(metadata.uid).map(({ job }) => job),
      ),
      events: [],
      claim: undefined,
      mails: [],
      refusals: [],
      settings,
      now: this.now,
    });
  }

  #effect(effect: Effect): void {
    this.writes += 1;
    if (effect.verb === "delete") {
      if (effect.kind === "Job") this.jobs.delete(effect.name);
      else this.versions.delete(effect.name);
      return;
    }
    const { object } = effect;
    const { name } = object.metadata;
    const metadata = { ...object.metadata, ...this.#metadata(name), generation: 1 };
    if (object.kind === "ModelVersion") {
      if (this.versions.has(name)) throw new Error(`${name} exists`);
      this.versions.set(
        name,
        ModelVersion.parse({ ...object, metadata, status: { observedGeneration: -1 } }),
      );
    }
    if (object.kind !== "Job") return;
    if (this.jobs.has(name)) throw new Error(`${name} exists`);
    this.created.push(name);
    const { template } = object.spec as {
      template: { metadata: { annotations: Record<string, string> } };
    };
    const run = RunFile.parse(JSON.parse(template.metadata.annotations[annotation.run] ?? ""));
    const job = Job.parse({ ...object, metadata });
    this.jobs.set(name, {
      job,
      run,
      pod: pod({ job: name, jobUid: job.metadata.uid, running: true }),
    });
  }

  /** True where a Job ended. */
  #endJobs(): boolean {
    let ended = false;
    for (const [name, { job, run }] of this.jobs) {
      const how = isFinished(job) ? "runs" : this.ending(run, job);
      if (how === "runs") continue;
      ended = true;
      const isGood = how.exit === 0;
      const conditions = (isGood ? complete : failed()).map((each) => ({
        status: "True",
        ...each,
      }));
      const message = isGood
        ? JSON.stringify(publishedBy(run, this.data))
        : this.#refused(run, how);
      this.jobs.set(name, {
        job: { ...job, status: { conditions } },
        run,
        pod: pod({
          job: name,
          jobUid: job.metadata.uid,
          exit: {
            code: how.exit,
            ...("reason" in how && how.reason !== undefined ? { reason: how.reason } : {}),
            ...(message === undefined ? {} : { message }),
          },
        }),
      });
    }
    return ended;
  }

  #refused(run: RunFile, how: Exclude<Ending, "runs">): string | undefined {
    if (!("record" in how) || how.record === undefined) return undefined;
    const task = run.task === "import" ? "import" : "train";
    return JSON.stringify({
      task,
      uid: run.object.uid,
      attempt: run.attempt,
      outcome: "failed",
      ...how.record,
    });
  }
}
