// What a cluster may do to the controllers, and what must not come of it.

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { Dataset } from "../../api/dataset.ts";
import { DeepModel } from "../../api/deepmodel.ts";
import { ModelVersion } from "../../api/modelversion.ts";
import type { TrainingEvent } from "../../api/progress.ts";
import { condition } from "../plan/conditions.ts";
import { brokenInvariants } from "../plan/testing/invariants.ts";
import { eventually } from "../runtime/testing/eventually.ts";
import { datasets, deepModels, jobs, modelVersions, pods } from "./kinds.ts";
import { datasetManifest, modelManifest, Scene, settled } from "./testing/scene.ts";

const BrokenModel = DeepModel.extend({ spec: z.unknown() });

describe("a cluster that is not kind", () => {
  let scene: Scene;

  beforeEach(async () => {
    scene = await Scene.open();
  });
  afterEach(() => scene.close());

  const model = () => DeepModel.parse(scene.server.get(deepModels, "shop/pets"));
  const version = () => ModelVersion.parse(scene.server.get(modelVersions, "shop/pets-v1"));
  const reason = () => condition(model().status, "Ready")?.reason;
  const until = (wanted: string) => eventually(() => reason() === wanted, 10_000);
  const untilTraining = async () => {
    scene.kubelet.script = (run) => (run.task === "import" ? { exitCode: 0 } : "never-ends");
    await scene.begin();
    scene.declare();
    await until("Training");
  };

  test("every first status write meets a conflict: nothing is lost", async () => {
    const met = new Set<string>();
    scene.server.faults.add(({ sub, key }) => {
      if (sub !== "status" || met.has(key)) return undefined;
      met.add(key);
      return { status: 409, reason: "Conflict" };
    });
    const operator = await scene.begin();
    scene.declare();
    await scene.untilReady();
    expect(met.size).toBe(3);
    expect(operator.problems).toEqual([]);
    expect(scene.kubelet.started).toHaveLength(2);
  });

  test("a Job of somebody else has the name: a conflict, never adopted; once it is gone, it trains", async () => {
    scene.server.put(jobs, {
      apiVersion: "batch/v1",
      kind: "Job",
      metadata: { name: "pets-v1-a1", namespace: "shop", annotations: {} },
      spec: { template: { spec: { containers: [{ name: "other" }] } } },
    });
    const foreign = scene.server.get(jobs, "shop/pets-v1-a1");
    scene.kubelet.started.length = 0;
    await scene.begin();
    scene.declare();
    await until("NameConflict");
    await settled(scene.server);
    expect(scene.server.get(jobs, "shop/pets-v1-a1")).toEqual(foreign);
    expect(condition(model().status, "Stalled")?.status).toBe("True");
    scene.server.remove(jobs, "shop/pets-v1-a1");
    // It looks again by itself in half a minute; any change of the model makes it look at once.
    scene.server.put(deepModels, modelManifest({}, { "deeptrain.dev/retry": "1" }));
    await scene.untilReady();
  });

  test("Jobs and pods of another namespace that name our owner are nobody's", async () => {
    await untilTraining();
    const { uid } = version().metadata;
    const own = scene.server.get(jobs, "shop/pets-v1-a1");
    const before = scene.operator?.controllers.runOf(uid)?.podUids;
    expect(before?.size).toBe(1);
    scene.kubelet.stop();
    const forged = (kind: string, name: string, owner: object) => ({
      metadata: {
        name,
        namespace: "evil",
        labels: { ...own?.metadata.labels },
        ownerReferences: [{ ...owner, controller: true }],
      },
      ...(kind === "Pod"
        ? { spec: {}, status: { phase: "Running" } }
        : {
            spec: { template: { spec: { containers: [] } } },
            status: { conditions: [{ type: "Failed", status: "True" }] },
          }),
    });
    const [versionOwner] = own?.metadata.ownerReferences ?? [];
    const jobOwner = { apiVersion: "batch/v1", kind: "Job", name: "pets-v1-a1" };
    scene.server.put(jobs, forged("Job", "pets-v1-a1", { ...versionOwner }));
    scene.server.put(pods, forged("Pod", "spy", { ...jobOwner, uid: own?.metadata.uid }));
    await scene.begin();
    await settled(scene.server);
    expect(scene.server.get(jobs, "shop/pets-v1-a1")).toEqual(own);
    expect(scene.operator?.controllers.runOf(uid)?.podUids).toEqual(before);
    expect(reason()).toBe("Training");
  });

  test("a quota forbids the Job: said in the API server's words, then cured", async () => {
    const allow = scene.server.faults.add(({ verb, plural, key }) =>
      verb === "create" && plural === "jobs" && key.includes("pets")
        ? { status: 403, reason: "Forbidden", message: "jobs is forbidden: exceeded quota: small" }
        : undefined,
    );
    await scene.begin();
    scene.declare();
    await until("QuotaExceeded");
    expect(condition(model().status, "Ready")?.message).toContain("exceeded quota: small");
    expect(condition(model().status, "Stalled")).toBeUndefined();
    allow();
    scene.server.put(deepModels, modelManifest({}, { "deeptrain.dev/retry": "1" }));
    await scene.untilReady();
  });

  test("a Job that the API server does not take: said in its words, not tried hot, then cured", async () => {
    const message = 'Job.batch "pets-v1-a1" is invalid: spec.podFailurePolicy: Unsupported value';
    const allow = scene.server.faults.add(({ verb, plural, key }) =>
      verb === "create" && plural === "jobs" && key.includes("pets")
        ? { status: 422, reason: "Invalid", message }
        : undefined,
    );
    await scene.begin();
    scene.declare();
    await until("AdmissionDenied");
    expect(condition(model().status, "Ready")?.message).toContain("spec.podFailurePolicy");
    expect(condition(model().status, "Stalled")).toBeUndefined();
    await settled(scene.server);
    const tries = () => scene.server.writes.filter(({ status }) => status === 422).length;
    const before = tries();
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(tries()).toBe(before);
    allow();
    scene.server.put(deepModels, modelManifest({}, { "deeptrain.dev/retry": "1" }));
    await scene.untilReady();
  });

  test("a webhook that admits Jobs does not answer: said in the API server's words, then cured", async () => {
    const message =
      'Internal error occurred: failed calling webhook "mjob.kb.io": connect: connection refused';
    const allow = scene.server.faults.add(({ verb, plural, key }) =>
      verb === "create" && plural === "jobs" && key.includes("pets")
        ? { status: 500, reason: "InternalError", message }
        : undefined,
    );
    await scene.begin();
    scene.declare();
    await until("AdmissionDenied");
    expect(condition(model().status, "Ready")?.message).toContain('webhook "mjob.kb.io"');
    expect(condition(model().status, "Stalled")).toBeUndefined();
    allow();
    scene.server.put(deepModels, modelManifest({}, { "deeptrain.dev/retry": "1" }));
    await scene.untilReady();
  });

  test("a missing right is named with verb, resource and namespace", async () => {
    const message =
      'jobs.batch is forbidden: User "system:serviceaccount:deeptrain-system:x" cannot create resource "jobs" in API group "batch" in the namespace "shop"';
    scene.server.faults.add(({ verb, plural, key }) =>
      verb === "create" && plural === "jobs" && key.includes("pets")
        ? { status: 403, reason: "Forbidden", message }
        : undefined,
    );
    await scene.begin();
    scene.declare();
    await until("AccessDenied");
    expect(condition(model().status, "Ready")?.message).toMatch(/create resource "jobs".*"shop"/);
  });

  test("an operator with another trainer image leaves what runs and what is trained alone", async () => {
    await untilTraining();
    const started = [...scene.kubelet.started];
    await scene.begin({ image: "registry.test/deeptrain-trainer:2" });
    await settled(scene.server);
    expect(scene.kubelet.started).toEqual(started);
    expect(reason()).toBe("Training");
  });

  test("a status that somebody wiped is made again, and trains nothing", async () => {
    await scene.begin();
    scene.declare();
    await scene.untilReady();
    await settled(scene.server);
    const before = model().status;
    const started = scene.kubelet.started.length;
    scene.server.putStatus(deepModels, "shop/pets", {
      conditions: null,
      readyVersion: null,
      wantedVersion: null,
      wantedHash: null,
      lastVersionNumber: null,
    });
    await eventually(() => reason() === "Trained", 10_000);
    expect(model().status).toMatchObject({
      readyVersion: "pets-v1",
      wantedHash: before?.wantedHash,
      lastVersionNumber: 1,
    });
    expect(scene.kubelet.started).toHaveLength(started);
  });

  test("an object that no release can read stops no other", async () => {
    scene.server.put(deepModels, {
      ...modelManifest({}),
      metadata: { name: "broken", namespace: "shop" },
      spec: { template: 7 },
    });
    const operator = await scene.begin();
    scene.declare();
    await scene.untilReady();
    expect(operator.problems).toContainEqual(
      expect.objectContaining({ kind: "DeepModel", key: "shop/broken" }),
    );
    const { metadata, status } = BrokenModel.parse(scene.server.get(deepModels, "shop/broken"));
    expect(condition(status, "Ready")).toMatchObject({
      status: "False",
      reason: "TemplateUnknown",
      message: expect.stringContaining("spec.template"),
    });
    expect(brokenInvariants({ metadata, status })).toEqual([]);
    await settled(scene.server);
  });

  test("deleted and made again under the same name: another model, with a training of its own", async () => {
    await scene.begin();
    scene.declare();
    await scene.untilReady();
    const { uid } = version().metadata;
    scene.server.remove(deepModels, "shop/pets");
    scene.server.put(deepModels, modelManifest({}));
    await eventually(() => {
      const next = ModelVersion.safeParse(scene.server.get(modelVersions, "shop/pets-v1")).data;
      return next !== undefined && next.metadata.uid !== uid && next.status?.artifact !== undefined;
    }, 10_000);
    expect(version().spec.model.uid).toBe(model().metadata.uid);
  });

  test("what an earlier object of that name left is waited for: never stalled, never adopted", async () => {
    const operator = await scene.begin();
    scene.declare();
    await scene.untilReady();
    await settled(scene.server);
    const { uid } = version().metadata;
    const seen = new Set<string | undefined>();
    scene.server.storage.onEntry(({ plural, object }) => {
      const { data } = DeepModel.safeParse(object);
      if (plural === deepModels.plural) seen.add(condition(data?.status, "Stalled")?.reason);
    });
    // The garbage collector is slow, and comes to each in its turn.
    scene.server.storage.collectsGarbage = false;
    scene.server.remove(deepModels, "shop/pets");
    scene.server.put(deepModels, modelManifest({}));
    await until("Creating");
    expect(condition(model().status, "Ready")?.message).toMatch(
      /waiting.*ModelVersion pets-v1.*deleted DeepModel pets/,
    );
    expect(version().metadata.uid).toBe(uid);
    scene.server.remove(modelVersions, "shop/pets-v1");
    const waiting = /waiting.*Job pets-v1-a1.*deleted ModelVersion pets-v1/;
    await eventually(() => waiting.test(condition(model().status, "Ready")?.message ?? ""), 10_000);
    scene.server.remove(jobs, "shop/pets-v1-a1");
    await scene.untilReady();
    expect(version().metadata.uid).not.toBe(uid);
    expect([...seen]).toEqual([undefined]);
    expect(operator.problems).toEqual([]);
  });

  test("the same of an import", async () => {
    await scene.begin();
    scene.server.put(datasets, datasetManifest);
    const dataset = () => Dataset.parse(scene.server.get(datasets, "shop/photos"));
    const datasetReason = () => condition(dataset().status, "Ready")?.reason;
    await eventually(() => datasetReason() === "Imported", 10_000);
    await settled(scene.server);
    const [old] = scene.server.all(jobs);
    scene.server.storage.collectsGarbage = false;
    scene.server.remove(datasets, "shop/photos");
    scene.server.put(datasets, datasetManifest);
    await eventually(() => datasetReason() === "Creating", 10_000);
    expect(condition(dataset().status, "Ready")?.message).toMatch(/Job.*deleted Dataset photos/);
    scene.server.remove(jobs, `shop/${old?.metadata.name}`);
    await eventually(() => datasetReason() === "Imported", 10_000);
  });

  test("a foreign Job that is being deleted is no conflict", async () => {
    scene.server.put(jobs, {
      apiVersion: "batch/v1",
      kind: "Job",
      metadata: { name: "pets-v1-a1", namespace: "shop", finalizers: ["example.com/slow"] },
      spec: { template: { spec: { containers: [{ name: "other" }] } } },
    });
    scene.server.remove(jobs, "shop/pets-v1-a1");
    await scene.begin();
    scene.declare();
    await until("Creating");
    expect(condition(model().status, "Ready")?.message).toMatch(/being deleted/);
    expect(condition(model().status, "Stalled")).toBeUndefined();
  });

  test("progress reaches both statuses; after a restart it goes on, and a replay changes nothing", async () => {
    await untilTraining();
    const epoch = (number: number): TrainingEvent => ({
      type: "epoch",
      epoch: number,
      epochs: 4,
      step: 19 * number,
      steps: 76,
      etaSeconds: 30,
      imagesPerSecond: 100,
      loss: 1,
      lrate: 0.1,
      seconds: 3,
      validation: { top1: 0.5 },
    });
    const { uid } = version().metadata;
    const send = (sequence: number, number: number) =>
      scene.operator?.takeReport({
        task: "train",
        uid,
        attempt: 1,
        sequence,
        event: epoch(number),
      });
    expect(scene.operator?.controllers.runOf(uid)).toMatchObject({
      task: "train",
      attempt: 1,
      epochs: 4,
      finished: false,
    });
    await send(1, 1);
    await eventually(() => model().status?.progress?.display === "1/4 · 25% · 30s", 5_000);
    expect(model().status?.metric).toBe("top1 0.500");
    await scene.begin();
    await send(2, 2);
    await eventually(() => model().status?.progress?.display === "2/4 · 50% · 30s", 5_000);
    await scene.begin();
    await send(1, 1);
    await settled(scene.server);
    expect(version().status).toMatchObject({
      reported: { attempt: 1, sequence: 2 },
      history: [{ epoch: 1 }, { epoch: 2 }],
    });
    expect(scene.kubelet.started).toHaveLength(2);
  });

  test("a thousand steps in a second are one write, and the rest comes ten seconds later", async () => {
    await untilTraining();
    await settled(scene.server);
    const { uid } = version().metadata;
    const before = scene.server.writes.length;
    for (let sequence = 1; sequence <= 1000; sequence += 1) {
      const event: TrainingEvent = {
        type: "step",
        epoch: 0,
        epochs: 4,
        step: sequence,
        steps: 5000,
        loss: 1,
        lrate: 0.1,
      };
      scene.operator
        ?.takeReport({ task: "train", uid, attempt: 1, sequence, event })
        .catch(() => undefined);
    }
    await settled(scene.server);
    // One of the version, one of the model that shows it.
    expect(scene.server.writes.length - before).toBeLessThanOrEqual(2);
  });

  test("news all the time is a write a second, and its model's", async () => {
    await untilTraining();
    await settled(scene.server);
    const { uid } = version().metadata;
    const before = scene.server.writes.length;
    const startedAt = performance.now();
    for (let sequence = 1; sequence <= 300; sequence += 1) {
      const phase = sequence % 2 === 0 ? "loading" : "training";
      scene.operator
        ?.takeReport({ task: "train", uid, attempt: 1, sequence, event: { type: "phase", phase } })
        .catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const seconds = (performance.now() - startedAt) / 1000;
    expect(scene.server.writes.length - before).toBeLessThanOrEqual(2 * (Math.ceil(seconds) + 1));
  });

  test("a status that the API server refuses: an event says so, others go on, and it is not tried hot", async () => {
    const allow = scene.server.faults.add(({ sub, plural }) =>
      sub === "status" && plural === "modelversions"
        ? { status: 422, reason: "Invalid", message: "status.attempts: Too many: 9" }
        : undefined,
    );
    const operator = await scene.begin();
    scene.declare();
    await eventually(
      () => operator.events.some(({ reason: is }) => is === "StatusRefused"),
      10_000,
    );
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    const tries = scene.server.writes.filter(({ status }) => status === 422).length;
    expect(tries).toBeLessThan(8);
    expect(operator.events.find(({ reason: is }) => is === "StatusRefused")).toMatchObject({
      kind: "ModelVersion",
      name: "pets-v1",
      note: expect.stringContaining("status.attempts: Too many: 9"),
    });
    allow();
    await scene.untilReady();
  });

  test("reports that make a status be refused are given up, and the training is not", async () => {
    await untilTraining();
    await settled(scene.server);
    const { uid } = version().metadata;
    scene.server.faults.times(1, ({ plural }) => plural === "modelversions", {
      status: 422,
      reason: "Invalid",
    });
    const event: TrainingEvent = { type: "phase", phase: "loading" };
    const report = { task: "train", uid, attempt: 1, sequence: 1, event } as const;
    await expect(scene.operator?.takeReport(report)).rejects.toThrow();
    await scene.operator?.takeReport({ ...report, sequence: 2 });
    expect(version().status?.progress?.phase).toBe("loading");
  });

  test("a model is woken by its dataset, whichever comes first", async () => {
    await scene.begin();
    scene.server.put(deepModels, modelManifest({}));
    await until("DatasetNotFound");
    scene.server.put(datasets, datasetManifest);
    await scene.untilReady();
  });
});
