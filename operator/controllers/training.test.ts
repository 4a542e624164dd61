// From a new Dataset and DeepModel to a trained one, with the operator killed at every one of its writes.

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { DeepModel } from "../../api/deepmodel.ts";
import { condition } from "../plan/conditions.ts";
import { brokenInvariants } from "../plan/testing/invariants.ts";
import type { FakeApiServer } from "../runtime/testing/apiserver.ts";
import { eventually } from "../runtime/testing/eventually.ts";
import { datasets, deepModels, jobs, modelVersions } from "./kinds.ts";
import { Kubelet, Operator, startServer } from "./testing/cluster.ts";

const dataset = {
  apiVersion: "deeptrain.dev/v1alpha1",
  kind: "Dataset",
  metadata: { name: "photos", namespace: "shop" },
  spec: { source: { http: { url: "http://data.test/photos.tar.gz" } }, format: "imageFolder" },
};

const model = {
  apiVersion: "deeptrain.dev/v1alpha1",
  kind: "DeepModel",
  metadata: { name: "pets", namespace: "shop" },
  spec: {
    template: "visual-classifier/resnet18",
    datasetRef: { name: "photos" },
    hyperparameters: { num_epochs: 4, logreg: false, image_size: 32 },
  },
};

const isReady = (server: FakeApiServer): boolean => {
  const { data } = DeepModel.safeParse(server.get(deepModels, "shop/pets"));
  return data !== undefined && condition(data.status, "Ready")?.status === "True";
};

/** What must be the same whatever happened on the way. */
const endState = (server: FakeApiServer) => {
  const { metadata, status } = DeepModel.parse(server.get(deepModels, "shop/pets"));
  expect(brokenInvariants({ metadata, status })).toEqual([]);
  return {
    jobs: server.all(jobs).map(({ metadata: { name } }) => name),
    versions: server.all(modelVersions).map(({ metadata: { name } }) => name),
    conditions: status?.conditions?.map(({ type, status: is, reason }) => [type, is, reason]),
    readyVersion: status?.readyVersion,
    wantedHash: status?.wantedHash,
    metric: status?.metric,
    progress: status?.progress?.display,
  };
};

const undisturbed = {
  jobs: [expect.stringMatching(/^pets-v1-a1$/), expect.stringMatching(/^photos-import-[0-9a-f]{8}$/)],
  versions: ["pets-v1"],
  conditions: [
    ["Ready", "True", "Trained"],
    ["Accepted", "True", "Accepted"],
    ["Available", "True", "Available"],
  ],
  readyVersion: "pets-v1",
  wantedHash: expect.stringMatching(/^sha256:/),
  metric: "top1 0.910",
  progress: "4/4 · 100%",
};

describe("from manifests to a trained model", () => {
  let server: FakeApiServer;
  let operator: Operator | undefined;
  let kubelet: Kubelet;

  beforeEach(async () => {
    server = await startServer();
    kubelet = new Kubelet(server, () => operator);
  });
  afterEach(async () => {
    kubelet.stop();
    await operator?.stop();
    operator = undefined;
    await server.stop();
  });

  const declare = () => {
    // The model comes first: it waits for its data.
    server.put(deepModels, model);
    server.put(datasets, dataset);
  };

  test("undisturbed, then settled: no further write", async () => {
    operator = await Operator.start(server);
    declare();
    await eventually(() => isReady(server), 10_000);
    expect(endState(server)).toEqual(undisturbed);
    const writes = server.writes.length;
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(server.writes.length).toBe(writes);
    expect(operator.problems).toEqual([]);
    expect(operator.events.map(({ kind, reason }) => `${kind} ${reason}`)).toEqual(
      expect.arrayContaining(["Dataset Imported", "DeepModel VersionCreated", "DeepModel Trained"]),
    );
  });

  test("a model of a ready dataset takes four writes until its Job runs", async () => {
    operator = await Operator.start(server);
    server.put(datasets, dataset);
    const isImported = () => JSON.stringify(server.get(datasets, "shop/photos")).includes('"Imported"');
    await eventually(isImported, 10_000);
    kubelet.stop();
    const before = server.writes.length;
    server.put(deepModels, model);
    await eventually(() => server.all(jobs).length === 2, 10_000);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(
      server.writes.slice(before).map(({ verb, plural, sub }) => `${verb} ${plural} ${sub}`.trim()),
    ).toEqual([
      "create modelversions",
      "update deepmodels status",
      "create jobs",
      "update modelversions status",
    ]);
  });

  test("killed before and after each of its writes: the same end, no Job twice, then no write", async () => {
    operator = await Operator.start(server);
    declare();
    await eventually(() => isReady(server), 10_000);
    const most = server.writes.length;
    await operator.stop();
    expect(most).toBeGreaterThan(6);
    for (let write = 1; write <= most; write += 1) {
      for (const when of ["before", "after"] as const) {
        await server.stop();
        kubelet.stop();
        server = await startServer();
        kubelet = new Kubelet(server, () => operator);
        const killed = server.faults.killAtWrite(write, when);
        operator = await Operator.start(server);
        declare();
        const isKilled = await Promise.race([
          killed.then(() => true),
          eventually(() => isReady(server), 10_000).then(() => false),
        ]);
        const dead = operator;
        if (isKilled) {
          await dead.stop();
          server.faults.revive();
          operator = await Operator.start(server);
        }
        await eventually(() => isReady(server), 10_000);
        expect(endState(server), `write ${write}, ${when}`).toEqual(undisturbed);
        expect(new Set(kubelet.started).size, "no Job twice").toBe(kubelet.started.length);
        const writes = server.writes.length;
        await new Promise((resolve) => setTimeout(resolve, 60));
        expect(server.writes.length, `write ${write}, ${when}: settled`).toBe(writes);
        await operator.stop();
      }
    }
  }, 120_000);
});
