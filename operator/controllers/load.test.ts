// Many trainings report at once: what is decided waits for none of it, and what is shown stays fresh.

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { DeepModel } from "../../api/deepmodel.ts";
import { ModelVersion } from "../../api/modelversion.ts";
import type { TrainingEvent } from "../../api/progress.ts";
import { eventually } from "../runtime/testing/eventually.ts";
import { Turns } from "../runtime/turns.ts";
import { datasets, deepModels, jobs, modelVersions } from "./kinds.ts";
import { datasetManifest, modelManifest, Scene } from "./testing/scene.ts";

const RUNS = 40;
const PER_SECOND = 20;
const BURST = 10;
/** The clock of the operator runs so much faster than the test's: ten seconds between two writes are one. */
const HASTE = 10;
const REPORT_EVERY_MS = 250;

const step = (number: number): TrainingEvent => ({
  type: "step",
  epoch: 0,
  epochs: 4,
  step: number,
  steps: 100_000,
  loss: 1,
  lrate: 0.1,
  imagesPerSecond: 100 + number,
});

const epoch = {
  type: "epoch",
  epochs: 4,
  step: 9,
  steps: 100_000,
  loss: 1,
  lrate: 0.1,
  seconds: 1,
} as const;

describe(`${RUNS} trainings that report all the time, and ${PER_SECOND} writes of progress a second`, () => {
  let scene: Scene;
  const timers: NodeJS.Timeout[] = [];
  const startedAt = Date.now();
  const nowMs = () => startedAt + HASTE * (Date.now() - startedAt);

  beforeEach(async () => {
    scene = await Scene.open();
    scene.kubelet.script = (run) => (run.task === "import" ? { exitCode: 0 } : "never-ends");
    await scene.begin({ nowMs, turns: new Turns({ perSecond: PER_SECOND, burst: BURST }) });
    scene.server.put(datasets, datasetManifest);
    for (let n = 0; n < RUNS; n += 1) declare(`run${n}`, n);
    await eventually(() => running().length === RUNS, 20_000);
  });
  afterEach(async () => {
    for (const timer of timers.splice(0)) clearInterval(timer);
    await scene.close();
  });

  const declare = (name: string, seed: number) => {
    const manifest = modelManifest({ hyperparameters: { num_epochs: 4, seed } });
    scene.server.put(deepModels, { ...manifest, metadata: { name, namespace: "shop" } });
  };
  const versions = () => scene.server.all(modelVersions).map((each) => ModelVersion.parse(each));
  const running = () =>
    versions().filter(({ status }) => status?.attempts?.at(-1)?.state === "Running");
  const sequences = new Map<string, number>();
  const send = (uid: string, event: (sequence: number) => TrainingEvent) => {
    const sequence = (sequences.get(uid) ?? 0) + 1;
    sequences.set(uid, sequence);
    scene.operator
      ?.takeReport({ task: "train", uid, attempt: 1, sequence, event: event(sequence) })
      .catch(() => undefined);
  };
  const report = () => {
    const uids = running().map(({ metadata }) => metadata.uid);
    timers.push(
      setInterval(() => {
        for (const uid of uids) send(uid, step);
      }, REPORT_EVERY_MS),
    );
  };
  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  /** Age of the oldest progress that the models show, in milliseconds of the test. */
  const oldestMs = (of: readonly DeepModel[]) =>
    Math.max(
      ...of.map(({ status }) => nowMs() - Date.parse(status?.progress?.updatedAt ?? "1970-01-01")),
    ) / HASTE;
  const untilJob = async (name: string, seed: number): Promise<number> => {
    const beganAt = performance.now();
    declare(name, seed);
    await eventually(() => scene.server.get(jobs, `shop/${name}-v1-a1`) !== undefined, 20_000);
    return performance.now() - beganAt;
  };

  test("a new model has its Job at once, and every model shows fresh progress, in turn", async () => {
    report();
    await pause(3_000);
    const before = scene.server.writes.length;
    const startedAt = performance.now();
    await pause(4_000);
    const writes = scene.server.writes.length - before;
    const allowed = (PER_SECOND * (performance.now() - startedAt)) / 1000;
    expect(writes).toBeGreaterThan(allowed / 2);
    expect(writes).toBeLessThanOrEqual(allowed + BURST);
    const models = scene.server.all(deepModels).map((each) => DeepModel.parse(each));
    // Two writes for each run: its version's, and that of the model which shows it.
    const roundMs = (2 * RUNS * 1000) / PER_SECOND;
    expect(oldestMs(models)).toBeLessThan(roundMs + 3 * REPORT_EVERY_MS);
    const waits: number[] = [];
    for (let n = 0; n < 3; n += 1) waits.push(await untilJob(`late${n}`, 1_000 + n));
    // A fraction of the round that progress takes: a new model does not stand in that line.
    expect(Math.min(...waits)).toBeLessThan(1_000);
    expect(Math.max(...waits)).toBeLessThan(3_000);
  }, 40_000);

  test("a run that floods gets no more than the others", async () => {
    report();
    const [flood] = running();
    const { uid = "", name = "" } = flood?.metadata ?? {};
    timers.push(
      setInterval(() => {
        send(uid, (n) => ({ type: "phase", phase: n % 2 === 0 ? "training" : "loading" }));
        send(uid, (n) => ({ ...epoch, epoch: n % 5 }));
      }, 10),
    );
    await pause(2_000);
    const before = scene.server.writes.length;
    await pause(6_000);
    const counts = new Map(running().map((each) => [each.metadata.name, 0]));
    for (const { plural, key } of scene.server.writes.slice(before)) {
      const of = key.slice(key.indexOf("/") + 1);
      if (plural === "modelversions") counts.set(of, (counts.get(of) ?? 0) + 1);
    }
    const others = [...counts].filter(([of]) => of !== name).map(([, count]) => count);
    expect(Math.min(...others)).toBeGreaterThanOrEqual(1);
    expect(counts.get(name)).toBeLessThanOrEqual(Math.max(...others) + 1);
  }, 40_000);
});
