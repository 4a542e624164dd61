// Whatever valid objects the planners meet: they answer, with a valid status, they touch only what is theirs, and what
// they ask for comes to rest.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { z } from "zod";
import { conditionTypes } from "../../api/conditions.ts";
import { type Dataset, DatasetStatus } from "../../api/dataset.ts";
import { type DeepModel, type DeepModelSpec, DeepModelStatus } from "../../api/deepmodel.ts";
import { importInputsHash } from "../../api/inputs.ts";
import { type ModelVersion, ModelVersionStatus } from "../../api/modelversion.ts";
import { reasons } from "../../api/reasons.ts";
import { planDataset } from "./dataset.ts";
import { planDeepModel } from "./deepmodel.ts";
import { importJobName } from "./importjob.ts";
import { Job, type Pod } from "./kubernetes.ts";
import type { Mail } from "./mail.ts";
import { planVersion } from "./modelversion.ts";
import type { Effect, Plan, Refusal } from "./plan.ts";
import { isFinished, isLeft } from "./podstate.ts";
import {
  at,
  baseVersion,
  dataset,
  datasetSpec,
  digestOf,
  job,
  model,
  pod,
  publishedRecord,
  report,
  settings,
  T0,
  version,
  versionSpec,
  withBoxes,
} from "./testing/gen.ts";
import { brokenInvariants } from "./testing/invariants.ts";

const options = { numRuns: 400 };
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const time = fc.integer({ min: 0, max: 1000 }).map(at);
const count = fc.integer({ min: 0, max: 6 });
const digest = fc.constantFrom(
  digestOf("a"),
  digestOf("b"),
  versionSpec().inputsHash,
  importInputsHash(datasetSpec),
);

const conditionsOf = fc
  .uniqueArray(fc.constantFrom(...conditionTypes), { maxLength: 8 })
  .chain((types) =>
    fc.tuple(
      ...types.map((type) =>
        fc.record({
          type: fc.constant(type),
          status: fc.constantFrom("True" as const, "False" as const, "Unknown" as const),
          reason: fc.constantFrom(...reasons),
          message: fc.string({ maxLength: 20 }).map((rest) => `m${rest}`),
          observedGeneration: fc.integer({ min: 0, max: 3 }),
          lastTransitionTime: time,
        }),
      ),
    ),
  );

const cleaned = <T extends object>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

const jobOf = (
  name: string,
  owner?: { kind: "Dataset" | "ModelVersion"; name: string; uid: string },
) =>
  fc
    .record({
      uid: fc.constantFrom("uid-1", "uid-2"),
      foreign: fc.boolean(),
      deleting: fc.boolean(),
      suspend: fc.boolean(),
      conditions: fc.subarray([
        { type: "Complete" },
        { type: "Failed", reason: "DeadlineExceeded" },
        { type: "Failed", reason: "BackoffLimitExceeded" },
        { type: "FailureTarget" },
      ]),
    })
    .map(({ uid, foreign, deleting, suspend, conditions }) =>
      job(name, {
        meta: { uid: `${name}-${uid}`, ...(deleting ? { deletionTimestamp: T0 } : {}) },
        suspend,
        conditions,
        ...(owner === undefined ? {} : { owner: foreign ? { ...owner, uid: "other" } : owner }),
      }),
    );

const podOf = (of: Job): fc.Arbitrary<Pod> =>
  fc
    .record({
      running: fc.boolean(),
      unschedulable: maybe(fc.constant("0/1 nodes")),
      waiting: maybe(
        fc.constantFrom(
          { reason: "ErrImagePull", message: "no" },
          { reason: "CreateContainerConfigError" },
          { reason: "SomethingNew" },
        ),
      ),
      phase: maybe(fc.constantFrom("Pending", "Running", "Succeeded", "Failed", "Unknown")),
      exit: maybe(
        fc.record({
          code: fc.constantFrom(0, 1, 42, 43, 137, 143, 255),
          reason: fc.constantFrom("Error", "OOMKilled", "Completed"),
          message: fc.constantFrom(publishedRecord(), "{", '{"task":"train"}', "\u0000"),
        }),
      ),
    })
    .map((given) =>
      pod({
        job: of.metadata.name,
        jobUid: of.metadata.uid,
        ...(cleaned(given) as typeof given),
      } as Parameters<typeof pod>[0]),
    );

const withPods = (jobs: fc.Arbitrary<Job>[]) =>
  fc
    .subarray(jobs)
    .chain((chosen) => fc.tuple(...chosen))
    .chain((all) =>
      fc.record({
        jobs: fc.constant(all as Job[]),
        pods: fc
          .tuple(...all.map((each) => maybe(podOf(each))))
          .map((pods) => pods.filter((p) => p !== undefined)),
      }),
    );

const refusals: fc.Arbitrary<Refusal[]> = fc.array(
  fc.record({
    kind: fc.constantFrom(
      "Job" as const,
      "ModelVersion" as const,
      "PersistentVolumeClaim" as const,
    ),
    name: fc.constant("x"),
    reason: fc.constantFrom(
      "NameConflict" as const,
      "QuotaExceeded" as const,
      "AccessDenied" as const,
    ),
    message: fc.constant("refused"),
  }),
  { maxLength: 1 },
);

const annotations = maybe(
  fc.dictionary(
    fc.constantFrom("deeptrain.dev/retry", "deeptrain.dev/retrain"),
    fc.constantFrom("", "1", "2", "x".repeat(300)),
  ),
);

interface Subject {
  metadata: Dataset["metadata"];
  status?: unknown;
}

const judged = <S>(subject: Subject, plan: Plan<S>, schema: z.ZodType<S>): void => {
  for (const effect of plan.effects) {
    if (effect.verb === "delete") expect(effect.uid).not.toBe("");
    else expect(effect.object.metadata.namespace).toBe("shop");
  }
  if (plan.nextMs !== undefined) expect(plan.nextMs).toBeGreaterThanOrEqual(0);
  if (plan.status === undefined) return;
  expect(brokenInvariants({ metadata: subject.metadata, status: plan.status as object })).toEqual(
    [],
  );
  expect(schema.parse(plan.status)).toEqual(plan.status);
};

/** What the API server and the garbage collector make of effects, at once. */
const afterEffects = (jobs: readonly Job[], effects: readonly Effect[], owner: string): Job[] => {
  const gone = new Set(effects.flatMap((effect) => (effect.verb === "delete" ? [effect.uid] : [])));
  const made = effects.flatMap((effect) =>
    effect.verb === "create" && effect.object.kind === "Job"
      ? [
          Job.parse({
            ...effect.object,
            metadata: {
              ...effect.object.metadata,
              uid: `new-${effect.object.metadata.name}`,
              resourceVersion: "1",
              creationTimestamp: T0,
            },
          }),
        ]
      : [],
  );
  expect(made.every((each) => each.metadata.ownerReferences?.[0]?.uid === owner)).toBe(true);
  return [...jobs.filter(({ metadata }) => !gone.has(metadata.uid)), ...made];
};

describe("planDataset", () => {
  const owner = { kind: "Dataset" as const, name: "photos", uid: "uid-photos" };
  const hash = importInputsHash(datasetSpec);
  const status = fc
    .record(
      {
        observedGeneration: fc.integer({ min: -1, max: 3 }),
        conditions: conditionsOf,
        import: fc
          .record({
            inputsHash: digest,
            attempt: count,
            counted: count,
            job: maybe(count.map((n) => importJobName("photos", hash, n))),
            phase: maybe(fc.constantFrom("checking" as const)),
            done: maybe(count),
            total: maybe(count),
            retryAt: maybe(time),
            report: maybe(fc.constant(report())),
          })
          .map(cleaned),
        data: fc.constantFrom(report(), report("b")),
        dataInputsHash: digest,
        lastHandledRetry: fc.constantFrom("", "1"),
      },
      { requiredKeys: [] },
    )
    .map((value) => DatasetStatus.parse(value));
  const mails: fc.Arbitrary<Mail[]> = fc.array(
    fc.record({
      podUid: fc.constantFrom("pod-1", "pod-2"),
      receivedAt: time,
      report: fc.record({
        task: fc.constant("import" as const),
        uid: fc.constant("uid-photos"),
        attempt: fc.integer({ min: 1, max: 4 }),
        sequence: fc.integer({ min: 1, max: 9 }),
        event: fc.constantFrom(
          { type: "report" as const, report: report() },
          { type: "import" as const, phase: "checking" as const, done: 10 ** 12 },
        ),
      }),
    }),
    { maxLength: 3 },
  );

  test("answers, and comes to rest", () => {
    const worlds = fc.record({
      status,
      annotations,
      spec: fc.constantFrom({}, { splits: { seed: 3 } }, { source: {} }, { concepts: ["a", "a"] }),
      of: withPods([1, 2, 3].map((n) => jobOf(importJobName("photos", hash, n), owner))),
      mails,
      refusals,
      generation: fc.integer({ min: 0, max: 3 }),
    });
    fc.assert(
      fc.property(
        worlds,
        ({
          status: stored,
          spec,
          of,
          mails: sent,
          refusals: no,
          generation,
          annotations: notes,
        }) => {
          const meta = { generation, ...(notes === undefined ? {} : { annotations: notes }) };
          let subject = dataset({ meta, spec: spec as object, status: stored });
          let { jobs } = of;
          for (let pass = 0; ; pass += 1) {
            const plan = planDataset({
              dataset: subject,
              jobs,
              pods: of.pods,
              events: [],
              claim: undefined,
              mails: sent,
              refusals: no,
              settings,
              now: at(500),
            });
            judged(subject, plan, DatasetStatus);
            const isAtRest =
              plan.effects.length === 0 &&
              JSON.stringify(plan.status) === JSON.stringify(subject.status);
            if (isAtRest) break;
            expect(pass, "comes to rest").toBeLessThan(12);
            jobs = afterEffects(jobs, plan.effects, "uid-photos");
            subject = { ...subject, status: plan.status };
          }
        },
      ),
      options,
    );
  });
});

/** Attempts that are begun, or prepared, while a Job or pod of the version may still be at work. */
const besideAnother = (
  effects: readonly Effect[],
  jobs: readonly Job[],
  pods: readonly Pod[],
): string[] => {
  const own = jobs.filter((each) => each.metadata.ownerReferences?.[0]?.uid === "uid-pets-v1");
  const uids = new Set(own.map(({ metadata }) => metadata.uid));
  const isBusy =
    own.some((each) => !isFinished(each)) ||
    pods.some(
      (each) => isLeft(each) && uids.has(each.metadata.ownerReferences?.[0]?.uid ?? "none"),
    );
  return effects.flatMap((effect) =>
    isBusy &&
    effect.verb === "create" &&
    effect.object.kind === "Job" &&
    !effect.object.metadata.name.endsWith("-inspect")
      ? [effect.object.metadata.name]
      : [],
  );
};

describe("planVersion", () => {
  const attempt = fc
    .record({
      number: fc.integer({ min: 1, max: 4 }),
      state: fc.constantFrom("Pending", "Running", "Succeeded", "Failed", "Stopped"),
      reason: maybe(fc.constantFrom("Stopping", "OutOfMemory", "Preempted", "ImagePullFailed")),
      counted: fc.boolean(),
      startedAt: maybe(time),
      cpu: fc.constant("2"),
      memory: fc.constantFrom("4Gi", "150Mi"),
      gpus: fc.constantFrom(0, 1),
      threads: fc.constant(2),
      placement: maybe(digest),
      suffix: fc.constantFrom("", "-prepare"),
    })
    .map(({ suffix, ...value }) => ({
      ...cleaned(value),
      job: `pets-v1-a${value.number}${suffix}`,
    }));
  const status = fc
    .record(
      {
        observedGeneration: fc.integer({ min: -1, max: 3 }),
        conditions: conditionsOf,
        attempt: count,
        countedAttempts: count,
        retryAt: time,
        attempts: fc.uniqueArray(attempt, { maxLength: 4, selector: ({ number }) => number }),
        threads: fc.integer({ min: 1, max: 4 }),
        lastHandledRetry: fc.constantFrom("", "1"),
        lastWantedAt: time,
        reported: fc.record({ attempt: count, sequence: count, pod: fc.constant("pod-1") }),
      },
      { requiredKeys: [] },
    )
    .map((value) =>
      ModelVersionStatus.parse({
        ...value,
        attempt: Math.max(0, ...(value.attempts ?? []).map(({ number }) => number)),
      }),
    );

  test("answers, and comes to rest", () => {
    const worlds = fc.record({
      status,
      annotations,
      suspend: fc.boolean(),
      wanted: maybe(fc.constantFrom("pets-v1", "pets-v2")),
      memory: fc.constantFrom("4Gi", "8Gi"),
      gpus: fc.constantFrom(0, 1),
      of: withPods(
        [
          "pets-v1-a1",
          "pets-v1-a2",
          "pets-v1-a3",
          "pets-v1-a1-inspect",
          "pets-v1-a1-prepare",
          "pets-v1-a2-prepare",
        ].map((name) => jobOf(name, { kind: "ModelVersion", name: "pets-v1", uid: "uid-pets-v1" })),
      ),
      refusals,
    });
    fc.assert(
      fc.property(
        worlds,
        ({
          status: stored,
          annotations: notes,
          suspend,
          wanted,
          memory,
          gpus,
          of,
          refusals: no,
        }) => {
          const owner: DeepModel = model({
            ...(notes === undefined ? {} : { meta: { annotations: notes } }),
            spec: { suspend, resources: { memory, gpus } },
            status: {
              observedGeneration: 1,
              wantedSince: T0,
              ...(wanted === undefined ? {} : { wantedVersion: wanted }),
            },
          });
          let subject: ModelVersion = version({ status: stored });
          let { jobs, pods } = of;
          let created = 0;
          for (let pass = 0; ; pass += 1) {
            const plan = planVersion({
              version: subject,
              model: owner,
              jobs,
              pods,
              siblingJobs: [],
              events: [],
              claim: undefined,
              mails: [],
              refusals: no,
              settings,
              now: at(500),
            });
            if (plan.status === undefined) break;
            judged(subject, plan, ModelVersionStatus);
            expect(besideAnother(plan.effects, jobs, pods)).toEqual([]);
            created += plan.effects.filter(
              (effect) => effect.verb === "create" && effect.object.kind === "Job",
            ).length;
            const isAtRest =
              plan.effects.length === 0 &&
              JSON.stringify(plan.status) === JSON.stringify(subject.status);
            if (isAtRest) break;
            expect(pass, "comes to rest").toBeLessThan(20);
            const gone = new Set(
              plan.effects.flatMap((effect) => (effect.verb === "delete" ? [effect.uid] : [])),
            );
            jobs = afterEffects(jobs, plan.effects, "uid-pets-v1");
            pods = pods.filter(
              ({ metadata }) => !metadata.ownerReferences?.some(({ uid }) => gone.has(uid)),
            );
            subject = { ...subject, status: plan.status };
          }
          expect(created, "no hot loop of Jobs").toBeLessThanOrEqual(4);
        },
      ),
      options,
    );
  });
});

describe("planDeepModel", () => {
  const status = fc
    .record(
      {
        observedGeneration: fc.integer({ min: -1, max: 3 }),
        conditions: conditionsOf,
        readyVersion: fc.constantFrom("pets-v1", "pets-v2", "gone"),
        wantedVersion: fc.constantFrom("pets-v1", "pets-v2", "gone"),
        wantedHash: digest,
        wantedSince: time,
        lastVersionNumber: count,
        lastHandledRetry: fc.constantFrom("", "1"),
        lastHandledRetrain: fc.constantFrom("", "1"),
      },
      { requiredKeys: [] },
    )
    .map((value) => DeepModelStatus.parse(value));
  const versions = fc.array(
    fc.record({
      number: fc.integer({ min: 1, max: 6 }),
      hash: digest,
      complete: fc.boolean(),
      conditions: conditionsOf,
      top1: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
    { maxLength: 6 },
  );
  const spec: fc.Arbitrary<Partial<DeepModelSpec>> = fc.record(
    {
      template: fc.constantFrom(
        "visual-classifier/resnet18" as const,
        "visual-classifier/efficientnet-lite0" as const,
        "visual-detector/ssdlite-efficientnet-lite0" as const,
        "visual-embedder/arcface-resnet50" as const,
        "context-based-classifier/linear" as const,
      ),
      base: fc.constantFrom(
        { name: "none" as const },
        { name: "efficientnet-lite0" as const },
        { http: { url: "https://example.org/w.safetensors", sha256: "0".repeat(64) } },
        { modelRef: { name: "backbone" } },
        { modelRef: { name: "backbone", version: 2 } },
        {},
      ),
      templateRevision: fc.constantFrom(1, 2),
      hyperparameters: fc.constantFrom(
        { batch_size: 1024 },
        { image_size: 64 },
        { init_epochs: 70 },
        { logreg: false },
        { use_perclass_regression: true, detection_score_threshold: 0.7 },
      ),
      concepts: fc.constantFrom(["cat"], ["fish"], ["dog", "cat"]),
      gates: fc.constantFrom(
        [{ metric: "top1" as const, min: 0.5 }],
        [{ metric: "top5" as const, max: 0.1 }],
        [{ metric: "map50" as const, min: 0.1 }],
        [{ metric: "ap" as const, concept: "cat", min: 0.1 }],
      ),
      retrainOn: fc.subarray(["data" as const, "base" as const]),
      suspend: fc.boolean(),
      versionsToKeep: fc.integer({ min: 1, max: 3 }),
    },
    { requiredKeys: [] },
  );
  const datasets = fc.oneof(
    fc.constant(undefined),
    fc.record({
      conditions: conditionsOf,
      data: maybe(
        fc.constantFrom(
          report(),
          report("b"),
          report("c", {}),
          report("d", { cat: 10 }),
          withBoxes(report("e")),
        ),
      ),
      observedGeneration: fc.integer({ min: -1, max: 2 }),
    }),
  );

  const baseModels = [
    model({
      meta: { name: "backbone" },
      status: { observedGeneration: 1, readyVersion: "backbone-v1" },
    }),
    model({
      meta: { name: "backbone", generation: 2 },
      spec: { base: { modelRef: { name: "pets" } } },
    }),
    model({
      meta: { name: "backbone" },
      spec: { template: "visual-detector/retinanet-resnet50" },
      status: { observedGeneration: 1, readyVersion: "backbone-v2" },
    }),
    model(),
  ];
  const baseVersions = [1, 2].map((number) => baseVersion(number, `${number}`));

  test("answers, and comes to rest", () => {
    const worlds = fc.record({
      status,
      versions,
      spec,
      annotations,
      dataset: datasets,
      chain: fc.subarray(baseModels),
      baseVersions: fc.subarray(baseVersions),
      refusals,
      generation: count,
    });
    fc.assert(
      fc.property(worlds, (given) => {
        const { annotations: notes, generation } = given;
        const meta = { generation, ...(notes === undefined ? {} : { annotations: notes }) };
        let subject = model({ meta, spec: given.spec, status: given.status });
        const data = given.dataset && dataset({ status: cleaned(given.dataset) });
        let known = given.versions.map(({ number, hash, complete, conditions, top1 }) =>
          version({
            number,
            spec: { inputsHash: hash },
            status: {
              observedGeneration: 1,
              conditions,
              ...(complete
                ? {
                    artifact: { path: "p", digest: digestOf("f"), bytes: 1 },
                    metrics: { split: "test", values: { top1 }, items: 1 },
                  }
                : {}),
            },
          }),
        );
        for (let pass = 0; ; pass += 1) {
          const plan = planDeepModel({
            model: subject,
            dataset: data,
            base: { chain: given.chain, versions: given.baseVersions },
            users: { models: given.chain, versions: known },
            versions: known,
            refusals: given.refusals,
            now: at(500 + 20 * pass),
          });
          judged(subject, plan, DeepModelStatus);
          const isAtRest =
            plan.effects.length === 0 &&
            JSON.stringify(plan.status) === JSON.stringify(subject.status);
          if (isAtRest) break;
          expect(pass, "comes to rest").toBeLessThan(12);
          const removed = new Set(
            plan.effects.flatMap((effect) => (effect.verb === "delete" ? [effect.name] : [])),
          );
          expect(removed.has(plan.status?.readyVersion ?? ""), "what is ready stays").toBe(false);
          expect(removed.has(plan.status?.wantedVersion ?? ""), "what is wanted stays").toBe(false);
          known = known.filter(({ metadata }) => !removed.has(metadata.name));
          for (const effect of plan.effects) {
            if (effect.verb !== "create") continue;
            const made = effect.object.spec as ModelVersion["spec"];
            known = [...known, version({ number: made.number, spec: made })];
          }
          subject = { ...subject, status: plan.status };
        }
      }),
      options,
    );
  });
});
