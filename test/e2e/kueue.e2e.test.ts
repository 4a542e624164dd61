// Kueue: a model waits for quota and says so, is admitted, gives way to a higher priority, comes back and goes on.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { installKueue, stopKueue } from "../../cluster/kueue.ts";
import { applyObjects } from "../../demo/apply.ts";
import { photoArchive } from "./archive.ts";
import { type Environment, environment } from "./environment.ts";
import {
  condition,
  datasetManifest,
  has,
  isReady,
  modelManifest,
  type Objects,
  objectsIn,
  quickHyperparameters,
} from "./objects.ts";

const apiVersion = "kueue.x-k8s.io/v1beta2";

/** Room for one training of a model of `modelManifest`: it asks for half of its one CPU. */
const quota = [
  { apiVersion, kind: "ResourceFlavor", metadata: { name: "any" } },
  {
    apiVersion,
    kind: "ClusterQueue",
    metadata: { name: "vision" },
    spec: {
      namespaceSelector: {},
      preemption: { withinClusterQueue: "LowerPriority" },
      resourceGroups: [
        {
          coveredResources: ["cpu", "memory"],
          flavors: [
            {
              name: "any",
              resources: [
                { name: "cpu", nominalQuota: "500m" },
                { name: "memory", nominalQuota: "8Gi" },
              ],
            },
          ],
        },
      ],
    },
  },
  ...Object.entries({ usual: 100, urgent: 1000 }).map(([name, value]) => ({
    apiVersion,
    kind: "WorkloadPriorityClass",
    metadata: { name },
    value,
  })),
];
const localQueue = {
  apiVersion,
  kind: "LocalQueue",
  metadata: { name: "team-a" },
  spec: { clusterQueue: "vision" },
};

describe("models in a queue of Kueue", () => {
  let env: Environment;
  let objects: Objects;
  let namespace: string;

  beforeAll(async () => {
    env = await environment();
    await installKueue(env.cluster.kubeconfig, console.log);
    namespace = await env.namespace("kueue");
    objects = objectsIn(env, namespace);
    await applyObjects(env.client, [...quota, localQueue], namespace);
    env.files.serve("queued.tar.gz", await photoArchive({ train: 20, validation: 3, test: 3 }));
    await applyObjects(
      env.client,
      [datasetManifest("few", { http: { url: env.files.url("queued.tar.gz") } })],
      namespace,
    );
    await objects.untilDataset("few", isReady);
  });
  afterAll(() => stopKueue(env.cluster.kubeconfig));

  const declare = (
    name: string,
    scheduling: object,
    hyperparameters: object = {},
    resources: object = { cpu: "1", memory: "2Gi" },
  ) =>
    applyObjects(
      env.client,
      [
        modelManifest(name, "few", {
          scheduling,
          resources,
          hyperparameters: { ...quickHyperparameters, ...hyperparameters },
        }),
      ],
      namespace,
    );
  const usual = { queueName: "team-a", workloadPriorityClassName: "usual" };
  const message = async (name: string) =>
    condition(await objects.version(`${name}-v1`), "Ready")?.message ?? "";
  /** Waits until the version says so in the words of its condition. */
  const untilItSays = (name: string, reason: string, words: RegExp) =>
    objects.untilVersion(
      `${name}-v1`,
      (version) =>
        has(version, "Ready", "Unknown", reason) &&
        words.test(condition(version, "Ready")?.message ?? ""),
    );

  test("the first is admitted, the second waits for quota and says so", async () => {
    await declare("first", usual, { num_epochs: 60 });
    await objects.untilVersion("first-v1", ({ status }) => (status?.checkpoint?.epoch ?? 0) >= 1);
    await declare("second", usual);
    await untilItSays("second", "Queued", /waits in the queue team-a: .*insufficient.* quota/);
    const model = await objects.model("second");
    expect(has(model, "Ready", "Unknown", "Queued")).toBe(true);
    expect(condition(model, "Stalled")).toBeUndefined();
    expect(await objects.pods({ version: "second-v1" })).toEqual([]);
  });

  test("a higher priority takes its place; it comes back and goes on from its checkpoint", async () => {
    await declare("urgent", { ...usual, workloadPriorityClassName: "urgent" });
    await untilItSays("first", "Queued", /lost its quota \(Preempted\).*waits in the queue team-a/);
    const preempted = await objects.version("first-v1");
    expect(preempted?.status?.attempts).toMatchObject([{ number: 1, state: "Pending" }]);
    const checkpoint = preempted?.status?.checkpoint?.step ?? 0;
    expect(checkpoint).toBeGreaterThan(0);

    await objects.untilModel("urgent", isReady);
    // The older one of the two that wait comes first.
    const resumed = await objects.untilVersion("first-v1", (version) =>
      has(version, "Ready", "Unknown", "Training"),
    );
    expect(resumed.status?.attempts).toMatchObject([{ number: 1, state: "Running" }]);
    // Reports of the new pod are believed, though they are numbered anew.
    const later = await objects.untilVersion(
      "first-v1",
      ({ status }) => (status?.progress?.step ?? 0) > checkpoint,
    );
    expect(later.status?.attempts?.[0]?.startedFromStep).toBeGreaterThanOrEqual(checkpoint);

    await objects.untilModel("first", isReady);
    await objects.untilModel("second", isReady);
    const { status } = (await objects.version("first-v1")) ?? {};
    expect(status?.attempts).toMatchObject([{ number: 1, state: "Succeeded", counted: false }]);
    expect(status?.countedAttempts).toBe(0);
  });

  test("a queue that is not there is told, and naming another one is the cure", async () => {
    await declare("lost", { queueName: "nowhere" });
    await untilItSays("lost", "Queued", /waits in the queue nowhere: .*LocalQueue nowhere/);
    await declare("lost", { queueName: "team-a" });
    await objects.untilModel("lost", isReady);
    expect(await message("lost")).not.toContain("nowhere");
    const attempts = (await objects.version("lost-v1"))?.status?.attempts ?? [];
    expect(attempts.map(({ state }) => state)).toEqual(["Stopped", "Succeeded"]);
  });

  test("suspended while it waits, it leaves the queue; resumed, it trains", async () => {
    await declare("holder", usual, { num_epochs: 24 });
    await objects.untilVersion("holder-v1", (version) =>
      has(version, "Ready", "Unknown", "Training"),
    );
    await declare("paused", usual);
    await untilItSays("paused", "Queued", /waits in the queue/);
    const patch = (suspend: boolean) =>
      env.kubectl(
        ...["-n", namespace, "patch", "deepmodel", "paused", "--type=merge"],
        ...["-p", JSON.stringify({ spec: { suspend } })],
      );
    await patch(true);
    await objects.untilVersion("paused-v1", (version) =>
      has(version, "Ready", "False", "Suspended"),
    );
    expect(await objects.jobs()).not.toContainEqual(
      expect.objectContaining({ metadata: expect.objectContaining({ name: "paused-v1-a1" }) }),
    );
    await patch(false);
    await objects.untilModel("paused", isReady);
  });

  test("two pods of one model are admitted, preempted and taken back together", async () => {
    await declare("before", usual, { num_epochs: 12 });
    await objects.untilVersion("before-v1", (version) =>
      has(version, "Ready", "Unknown", "Training"),
    );
    // Each asks for half of the quota: there is room for both or for none.
    await declare("pair", usual, { num_epochs: 24 }, { cpu: "500m", memory: "2Gi", nodes: 2 });
    await untilItSays("pair", "Queued", /waits in the queue team-a/);
    expect(await objects.pods({ version: "pair-v1" })).toEqual([]);
    await objects.untilVersion("pair-v1", ({ status }) => (status?.checkpoint?.epoch ?? 0) >= 1);
    expect(await objects.pods({ version: "pair-v1" })).toHaveLength(2);

    await declare("sudden", { ...usual, workloadPriorityClassName: "urgent" });
    await untilItSays("pair", "Queued", /lost its quota \(Preempted\)/);
    await objects.untilModel("sudden", isReady);
    await objects.untilModel("pair", isReady, 480_000);
    const attempts = (await objects.version("pair-v1"))?.status?.attempts ?? [];
    expect(attempts).toMatchObject([{ number: 1, state: "Succeeded", counted: false }]);
    expect(attempts[0]?.startedFromStep).toBeGreaterThan(0);
  });
});
