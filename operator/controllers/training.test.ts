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
  jobs: [
    expect.stringMatching(/^pets-v1-a1$/),
    expect.stringMatching(/^photos-import-[0-9a-f]{8}$/),
  ],
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

/** A server, a kubelet, and one operator at a time. */
class Scene {
  readonly server: FakeApiServer;
  readonly kubelet: Kubelet;
  operator: Operator | undefined;

  private constructor(server: FakeApiServer) {
    this.server = server;
    this.kubelet = new Kubelet(server, () => this.operator);
  }

  static async open(): Promise<Scene> {
    return new Scene(await startServer());
  }

  async begin(): Promise<Operator> {
    this.operator = await Operator.start(this.server);
    return this.operator;
  }

  /** The model comes first: it waits for its data. */
  declare(): void {
    this.server.put(deepModels, model);
    this.server.put(datasets, dataset);
  }

  untilReady(): Promise<void> {
    return eventually(() => isReady(this.server), 15_000);
  }

  async close(): Promise<void> {
    this.kubelet.stop();
    await this.operator?.stop();
    await this.server.stop();
  }
}

/** Kills the operator at one of its writes, starts another, and tells what was wrong in the end. */
const killedAt = async (write: number, when: "before" | "after"): Promise<void> => {
  const scene = await Scene.open();
  const { server, kubelet } = scene;
  try {
    const killed = server.faults.killAtWrite(write, when);
    const first = await scene.begin();
    scene.declare();
    const isKilled = await Promise.race([
      killed.then(() => true),
      scene.untilReady().then(() => false),
    ]);
    if (isKilled) {
      await first.stop();
      server.faults.revive();
      await scene.begin();
    }
    await scene.untilReady();
    await settled(server);
    expect(endState(server)).toEqual(undisturbed);
    expect(new Set(kubelet.started).size, "no Job twice").toBe(kubelet.started.length);
  } finally {
    await scene.close();
  }
};

/** Resolves when nothing was written for a while; rejects where writing does not end. */
const settled = async (server: FakeApiServer): Promise<void> => {
  let before = -1;
  for (let i = 0; i < 20 && before !== server.writes.length; i += 1) {
    before = server.writes.length;
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
  expect(server.writes.length, "settled").toBe(before);
};

describe("from manifests to a trained model", () => {
  let scene: Scene;

  beforeEach(async () => {
    scene = await Scene.open();
  });
  afterEach(() => scene.close());

  test("undisturbed, then settled: no further write", async () => {
    const { server } = scene;
    const operator = await scene.begin();
    scene.declare();
    await scene.untilReady();
    await settled(server);
    expect(endState(server)).toEqual(undisturbed);
    expect(operator.problems).toEqual([]);
    expect(operator.events.map(({ kind, reason }) => `${kind} ${reason}`)).toEqual(
      expect.arrayContaining(["Dataset Imported", "DeepModel VersionCreated", "DeepModel Trained"]),
    );
  });

  test("a model of a ready dataset takes four writes until its Job runs", async () => {
    const { server, kubelet } = scene;
    await scene.begin();
    server.put(datasets, dataset);
    await eventually(
      () => JSON.stringify(server.get(datasets, "shop/photos")).includes('"Imported"'),
      10_000,
    );
    kubelet.stop();
    const before = server.writes.length;
    server.put(deepModels, model);
    await eventually(() => server.all(jobs).length === 2, 10_000);
    await settled(server);
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
    await scene.begin();
    scene.declare();
    await scene.untilReady();
    const writes = scene.server.writes.map((_, index) => index + 1);
    expect(writes.length).toBeGreaterThan(6);
    const kills = writes.flatMap((write) => [
      { write, when: "before" as const },
      { write, when: "after" as const },
    ]);
    const failures: string[] = [];
    await Promise.all(
      kills.map(({ write, when }) =>
        killedAt(write, when).catch((error: unknown) => {
          failures.push(`write ${write}, ${when}: ${error}`);
        }),
      ),
    );
    expect(failures).toEqual([]);
  }, 60_000);
});
