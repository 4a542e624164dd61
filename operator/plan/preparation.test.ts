// An attempt with GPUs is prepared on CPU: before it, instead of it where that fails, and never beside it.

import { describe, expect, test } from "vitest";
import type { DeepModelSpec } from "../../api/deepmodel.ts";
import type { ModelVersionSpec, ModelVersionStatus } from "../../api/modelversion.ts";
import { condition } from "./conditions.ts";
import type { Job, Pod } from "./kubernetes.ts";
import {
  at,
  claim,
  complete,
  datasetSpec,
  failed,
  job,
  model as modelOf,
  pod,
  version,
} from "./testing/gen.ts";
import { Simulation } from "./testing/simulation.ts";
import { effects, message, planned, ready, wanting, world } from "./testing/versionworld.ts";
import type { VersionWorld } from "./versionworld.ts";

const STEP = "pets-v1-a1-prepare";
const withGpu: Partial<DeepModelSpec> = { resources: { gpus: 1 } };
type Given = Partial<VersionWorld> & { status?: unknown; of?: Partial<ModelVersionSpec> };

/** One pass over a version that wants a GPU. */
const passed = ({ status, of, ...given }: Given = {}) =>
  planned(
    world({
      model: wanting({ spec: withGpu }),
      version: version({
        ...(status === undefined ? {} : { status }),
        ...(of === undefined ? {} : { spec: of }),
      }),
      ...given,
    }),
  );

/** The status of a version whose first attempt is being prepared. */
const begun: ModelVersionStatus = passed().status;
const step = (conditions: Parameters<typeof job>[1] = {}): Job => job(STEP, conditions);
const done = step({ conditions: complete });
const runs = (status: unknown = begun, given: Given = {}) =>
  passed({ status, jobs: [step()], pods: [pod({ job: STEP, running: true })], ...given });
const endedBy = (exit: NonNullable<Parameters<typeof pod>[0]["exit"]>, given: Given = {}) =>
  passed({
    status: begun,
    jobs: [step({ conditions: exit.code === 0 ? complete : failed() })],
    pods: [pod({ job: STEP, exit })],
    ...given,
  });
const record = (outcome: object) =>
  JSON.stringify({ task: "train", uid: "uid-pets-v1", attempt: 1, ...outcome });
const wrong = (reason: string) => record({ outcome: "failed", reason, message: "it is wrong" });

describe("the step on CPU", () => {
  test("comes before a training with GPUs, and before no other", () => {
    const plan = passed({ claim: undefined });
    expect(effects(plan)).toEqual(["create deeptrain-store", `create ${STEP}`]);
    expect(ready(plan)).toBe("Unknown Preparing");
    expect(plan.status).toMatchObject({
      attempt: 1,
      attempts: [{ number: 1, job: STEP, state: "Pending", gpus: 1, counted: false }],
    });
    expect(effects(planned(world()))).toEqual(["create pets-v1-a1"]);
  });

  test.each<[string, Partial<ModelVersionSpec>, RegExp]>([
    ["weights of the image", {}, /^attempt 1: base and data are being checked on CPU before GPUs/],
    [
      "an address",
      { base: { id: "http", digest: `sha256:${"b".repeat(64)}`, url: "https://a.test/w" } },
      /^attempt 1: the base is being fetched and checked on CPU/,
    ],
    [
      "a head",
      { template: "context-based-classifier/linear" },
      /^attempt 1: the embeddings are being computed on CPU/,
    ],
  ])("says what it does: %s", (_, of, want) => {
    expect(message(passed({ of }))).toMatch(want);
    const running = runs(begun, { of });
    expect([message(running), ready(running)]).toEqual([
      expect.stringMatching(want),
      "Unknown Preparing",
    ]);
  });

  test("is no training yet: the attempt stays pending, and silence is no news", () => {
    const plan = runs(begun, { now: at(100_000) });
    const [attempt] = plan.status.attempts ?? [];
    expect(attempt).toMatchObject({ state: "Pending", job: STEP });
    expect(attempt).not.toHaveProperty("startedAt");
    expect(condition(plan.status, "ProgressStale")).toBeUndefined();
    expect(effects(plan)).toEqual([]);
  });

  test("says why its pod waits", () => {
    const plan = runs(begun, { pods: [pod({ job: STEP, unschedulable: "0/3 nodes" })] });
    expect(ready(plan)).toBe("Unknown Unschedulable");
    expect(message(plan)).toBe("attempt 1, on CPU: no node takes the pod: 0/3 nodes");
    // It is over once the pod runs.
    const [attempt] = runs(plan.status).status.attempts ?? [];
    expect(attempt).not.toHaveProperty("reason");
  });
});

describe("after the step on CPU", () => {
  test.each([
    ["its record", record({ outcome: "prepared" })],
    ["no record", undefined],
  ])("the training begins, as the same attempt: %s", (_, text) => {
    const plan = endedBy({ code: 0, ...(text === undefined ? {} : { message: text }) });
    expect([effects(plan), ready(plan)]).toEqual([["create pets-v1-a1"], "Unknown Starting"]);
    expect(plan.status).toMatchObject({ attempt: 1, countedAttempts: 0, threads: 2 });
    expect(plan.status.attempts).toHaveLength(1);
    expect(plan.status.attempts?.[0]).toMatchObject({ job: "pets-v1-a1", state: "Pending" });
  });

  test("the training begins although nobody saw how the step's pod ended", () => {
    expect(effects(passed({ status: begun, jobs: [done] }))).toEqual(["create pets-v1-a1"]);
  });

  test("the Service and the NetworkPolicy of several nodes come with their training, not with the step", () => {
    const model = wanting({ spec: { resources: { gpus: 4, nodes: 2 } } });
    const first = passed({ model });
    expect(effects(first)).toEqual([`create ${STEP}`]);
    expect(effects(passed({ model, status: first.status, jobs: [done] }))).toEqual([
      "create pets-v1",
      "create pets-v1",
      "create pets-v1-a1",
    ]);
  });

  test.each<[string, Job[], Pod[]]>([
    ["its pod is left", [done], [pod({ job: STEP, running: true })]],
    ["another one's pod is left", [done], [pod({ job: "pets-v1-a7", running: true })]],
  ])("nothing begins while %s", (_, jobs, pods) => {
    const plan = passed({ status: begun, jobs, pods });
    expect([effects(plan), ready(plan)]).toEqual([[], "Unknown Stopping"]);
    expect(plan.nextMs ?? 0).toBeGreaterThanOrEqual(0);
  });

  test("a training that was created before its status could be written is found, as it was made", () => {
    const annotations = {
      "deeptrain.dev/placement": JSON.stringify({
        digest: "sha256:old",
        cpu: "7",
        memory: "9Gi",
        gpus: 2,
        threads: 2,
      }),
    };
    const training = job("pets-v1-a1", { meta: { annotations } });
    const pods = [pod({ job: "pets-v1-a1", running: true })];
    for (const given of [{ status: begun }, {}]) {
      for (const jobs of [[done, training], [training]]) {
        const plan = passed({ ...given, jobs, pods });
        expect([effects(plan), ready(plan)]).toEqual([[], "Unknown Training"]);
        expect(plan.status.attempts).toMatchObject([
          { job: "pets-v1-a1", state: "Running", cpu: "7", gpus: 2, placement: "sha256:old" },
        ]);
      }
    }
  });

  test("a step that was created before its status could be written is found too", () => {
    const plan = passed({ jobs: [step()], pods: [pod({ job: STEP, running: true })] });
    expect([effects(plan), ready(plan)]).toEqual([[], "Unknown Preparing"]);
    expect(plan.status).toMatchObject({ attempt: 1, attempts: [{ job: STEP }] });
  });

  test("what was asked for meanwhile is what the training gets: nothing is done twice", () => {
    const asked = { resources: { gpus: 2, memory: "64Gi" } };
    const running = runs(begun, { model: wanting({ spec: asked }) });
    expect([effects(running), ready(running)]).toEqual([[], "Unknown Preparing"]);
    const plan = endedBy({ code: 0 }, { model: wanting({ spec: asked }) });
    expect(effects(plan)).toEqual(["create pets-v1-a1"]);
    expect(plan.status.attempts).toMatchObject([{ number: 1, gpus: 2, memory: "64Gi" }]);
    const none = endedBy({ code: 0 }, { model: wanting() });
    expect(none.status.attempts).toMatchObject([{ number: 1, job: "pets-v1-a1", gpus: 0 }]);
  });

  test("what stands in the way of the training is told, and the step is not done again", () => {
    const refusals = [
      { kind: "Job" as const, name: "x", reason: "QuotaExceeded" as const, message: "full" },
    ];
    const refused = endedBy({ code: 0 }, { refusals });
    expect([effects(refused), ready(refused)]).toEqual([[], "Unknown QuotaExceeded"]);
    expect(refused.nextMs).toBeGreaterThan(0);
    expect(effects(passed({ status: refused.status, jobs: [done] }))).toEqual([
      "create pets-v1-a1",
    ]);
    const unshared = endedBy(
      { code: 0 },
      {
        model: wanting({ spec: { resources: { gpus: 1, nodes: 2 } } }),
        claim: { ...claim, spec: { accessModes: ["ReadWriteOnce"] } },
      },
    );
    expect([effects(unshared), ready(unshared)]).toEqual([[], "Unknown StoreNotShared"]);
    const sibling = endedBy({ code: 0 }, { siblingJobs: [job("pets-v2-a1")] });
    expect([effects(sibling), ready(sibling)]).toEqual([[], "Unknown Queued"]);
  });

  test("what stood in the way for so long that the step's Job is gone costs no attempt", () => {
    const refusals = [
      { kind: "Job" as const, name: "x", reason: "AdmissionDenied" as const, message: "no GPUs" },
    ];
    const denied = endedBy({ code: 0 }, { refusals });
    expect(ready(denied)).toBe("Unknown AdmissionDenied");
    const still = passed({ status: denied.status, refusals, now: at(100_000) });
    expect([effects(still), ready(still)]).toEqual([[], "Unknown AdmissionDenied"]);
    const plan = passed({ status: still.status, now: at(200_000) });
    expect(effects(plan)).toEqual(["create pets-v1-a1"]);
    expect(plan.status).toMatchObject({ attempt: 1, countedAttempts: 0 });
    expect(plan.status.attempts?.[0]).not.toHaveProperty("finishedAt");
    const suspend = wanting({ spec: { ...withGpu, suspend: true } });
    expect(ready(passed({ status: still.status, model: suspend }))).toBe("False Suspended");
  });

  test("nothing begins that nobody wants any more, or has not decided upon", () => {
    const stopped = endedBy(
      { code: 0 },
      { model: wanting({ spec: { ...withGpu, suspend: true } }) },
    );
    expect([effects(stopped), ready(stopped)]).toEqual([[], "False Suspended"]);
    expect(stopped.status.attempts).toMatchObject([
      { state: "Stopped", counted: false, job: STEP },
    ]);
    const left = endedBy({ code: 0 }, { model: modelOf({ spec: withGpu }) });
    expect([effects(left), ready(left)]).toEqual([[], "Unknown Preparing"]);
    expect(effects(passed({ status: left.status, jobs: [done] }))).toEqual(["create pets-v1-a1"]);
  });
});

describe("a step on CPU that fails", () => {
  test.each([
    ["BaseIncompatible", 42],
    ["BaseUnavailable", 42],
    ["NoPositives", 42],
    ["InputInvalid", 42],
  ])("with %s and exit code %i: final, and no GPU was asked for", (reason, code) => {
    const plan = endedBy({ code, message: wrong(reason) });
    expect([effects(plan), ready(plan)]).toEqual([[], `False ${reason}`]);
    expect(message(plan)).toMatch(/^attempt 1: it is wrong; /);
    expect(plan.status.attempts).toMatchObject([
      { state: "Failed", counted: true, reason, job: STEP, node: "node-1", finishedAt: at(100) },
    ]);
  });

  test.each([
    ["BaseUnavailable", 1],
    ["TrainingFailed", 1],
  ])("with %s and exit code %i: the next attempt begins with a step of its own", (reason, code) => {
    const plan = endedBy({ code, message: wrong(reason) });
    expect(ready(plan)).toBe("Unknown RetryingAfterFailure");
    expect(plan.status).toMatchObject({ countedAttempts: 1, retryAt: at(210) });
    const next = passed({ status: plan.status, now: at(210) });
    expect(effects(next)).toEqual(["create pets-v1-a2-prepare"]);
  });

  test.each<[string, NonNullable<Parameters<typeof pod>[0]["exit"]>, string]>([
    ["out of memory", { code: 137, reason: "OOMKilled" }, "False OutOfMemory"],
    ["stopped from outside", { code: 143 }, "Unknown RetryingAfterFailure"],
    ["killed", { code: 137 }, "Unknown RetryingAfterFailure"],
  ])("%s, as a training would", (_, exit, want) => {
    expect(ready(endedBy(exit))).toBe(want);
  });

  test("past its deadline, as a training would", () => {
    const late = step({ conditions: failed("DeadlineExceeded") });
    expect(ready(passed({ status: begun, jobs: [late] }))).toBe("False DeadlineExceeded");
  });

  test("whose Job is gone: counted, with nothing to inspect, once its pod is gone too", () => {
    const orphan = pod({ job: STEP, running: true });
    const waiting = passed({ status: begun, pods: [orphan] });
    expect([effects(waiting), ready(waiting)]).toEqual([[], "Unknown Stopping"]);
    const plan = passed({ status: waiting.status });
    expect([effects(plan), ready(plan)]).toEqual([[], "Unknown RetryingAfterFailure"]);
    expect(plan.status.attempts).toMatchObject([{ state: "Failed", reason: "PodLost" }]);
    expect(message(plan)).toMatch(/the Job that prepared it on CPU is gone/);
  });

  test("by an address, and is cured by another one at once", () => {
    const plan = endedBy({ code: 42, message: wrong("BaseUnavailable") });
    const http = { url: "https://b.test/w", sha256: "b".repeat(64) };
    const cured = passed({
      status: plan.status,
      model: wanting({ spec: { ...withGpu, base: { http } } }),
    });
    expect(effects(cured)).toEqual(["create pets-v1-a2-prepare"]);
    expect(cured.status.countedAttempts).toBe(0);
  });
});

describe("a step on CPU that is not wanted any more", () => {
  const suspended = wanting({ spec: { ...withGpu, suspend: true } });

  test("is stopped as a training is: written first, then deleted, then the next may begin", () => {
    const told = runs(begun, { model: suspended });
    expect([effects(told), ready(told)]).toEqual([[], "Unknown Stopping"]);
    const deleting = runs(told.status, { model: suspended });
    expect(effects(deleting)).toEqual([`delete ${STEP} uid-${STEP} foreground`]);
    const gone = passed({ status: deleting.status, model: suspended });
    expect([ready(gone), gone.status.countedAttempts]).toEqual(["False Suspended", 0]);
    const resumed = passed({ status: gone.status });
    expect(effects(resumed)).toEqual(["create pets-v1-a2-prepare"]);
  });

  test("in vain, for it ended well meanwhile and is wanted again: the training begins", () => {
    const told = runs(begun, { model: suspended });
    const plan = passed({ status: told.status, jobs: [done] });
    expect(effects(plan)).toEqual(["create pets-v1-a1"]);
    const [attempt] = plan.status.attempts ?? [];
    expect(attempt).not.toHaveProperty("reason");
  });

  test("is replaced at once where its pod had not started and the placement changed", () => {
    const model = wanting({ spec: { resources: { gpus: 1, memory: "8Gi" } } });
    const pods = [pod({ job: STEP, unschedulable: "0/3 nodes" })];
    const told = runs(begun, { model, pods });
    expect(ready(told)).toBe("Unknown Stopping");
    expect(effects(runs(told.status, { model, pods }))).toEqual([
      `delete ${STEP} uid-${STEP} foreground`,
    ]);
  });
});

test("a training that was stopped goes on without another step; one that failed has one", () => {
  const training = endedBy({ code: 0 }).status;
  const jobs = [job("pets-v1-a1", { conditions: failed() })];
  const ended = (code: number) =>
    passed({ status: training, jobs, pods: [pod({ job: "pets-v1-a1", exit: { code } })] });
  const [preempted, crashed] = [ended(143), ended(1)];
  const later = { now: at(10_000) };
  expect(effects(passed({ status: preempted.status, jobs, ...later }))).toEqual([
    "create pets-v1-a2",
  ]);
  expect(effects(passed({ status: crashed.status, jobs, ...later }))).toEqual([
    "create pets-v1-a2-prepare",
  ]);
});

describe("a life with GPUs", () => {
  const cluster = () => {
    const simulation = new Simulation();
    simulation.apply("DeepModel", "pets", { ...modelOf().spec, ...withGpu });
    simulation.apply("Dataset", "photos", datasetSpec);
    return simulation;
  };
  const ofModel = ({ created }: Simulation) => created.filter((name) => name.startsWith("pets"));
  const modelReady = ({ models }: Simulation) =>
    condition(models.get("pets")?.status, "Ready")?.reason;

  test("ends trained after one step, and settles", () => {
    const simulation = cluster();
    simulation.settle();
    expect(ofModel(simulation)).toEqual([STEP, "pets-v1-a1"]);
    expect(modelReady(simulation)).toBe("Trained");
    const { writes } = simulation;
    simulation.settle();
    expect(simulation.writes, "settled: no write").toBe(writes);
  });

  test("a server that is down is asked three times, without a GPU, until somebody asks again", () => {
    const simulation = cluster();
    const down = { reason: "BaseUnavailable", message: "spec.base.http: it does not answer" };
    simulation.ending = (run) => (run.task === "prepare" ? { exit: 1, record: down } : { exit: 0 });
    simulation.settle();
    expect(modelReady(simulation)).toBe("BaseUnavailable");
    const steps = [1, 2, 3].map((number) => `pets-v1-a${number}-prepare`);
    expect(ofModel(simulation)).toEqual(steps);
    simulation.ending = () => ({ exit: 0 });
    const asked = { "deeptrain.dev/retry": "1" };
    simulation.apply("DeepModel", "pets", { ...modelOf().spec, ...withGpu }, asked);
    simulation.settle();
    expect(modelReady(simulation)).toBe("Trained");
    expect(ofModel(simulation)).toEqual([...steps, "pets-v1-a4-prepare", "pets-v1-a4"]);
  });

  test("superseded while it is prepared: the other version begins when the step is gone", () => {
    const simulation = cluster();
    simulation.ending = (run) => (run.task === "prepare" ? "runs" : { exit: 0 });
    simulation.settle();
    expect(modelReady(simulation)).toBe("Preparing");
    const hyperparameters = { num_epochs: 9, logreg: false };
    simulation.ending = (run) =>
      run.object.name === "pets-v1" && run.task === "prepare" ? "runs" : { exit: 0 };
    simulation.apply("DeepModel", "pets", { ...modelOf().spec, ...withGpu, hyperparameters });
    simulation.settle();
    expect(ofModel(simulation)).toEqual([STEP, "pets-v2-a1-prepare", "pets-v2-a1"]);
    expect(condition(simulation.versions.get("pets-v1")?.status, "Ready")?.reason).toBe(
      "Superseded",
    );
  });
});
