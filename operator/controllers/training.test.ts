// From a new Dataset and DeepModel to a trained one, with the operator killed at every one of its writes.

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { DeepModel } from "../../api/deepmodel.ts";
import { brokenInvariants } from "../plan/testing/invariants.ts";
import type { FakeApiServer } from "../runtime/testing/apiserver.ts";
import { eventually } from "../runtime/testing/eventually.ts";
import { datasets, deepModels, jobs, modelVersions } from "./kinds.ts";
import { datasetManifest, modelManifest, Scene, settled } from "./testing/scene.ts";

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
    server.put(datasets, datasetManifest);
    await eventually(
      () => JSON.stringify(server.get(datasets, "shop/photos")).includes('"Imported"'),
      10_000,
    );
    kubelet.stop();
    const before = server.writes.length;
    server.put(deepModels, modelManifest({}));
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
