// People edit and delete what the operator owns: it is explained or made good, never taken for the operator's own work.

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { DeepModel } from "../../api/deepmodel.ts";
import { ModelVersion } from "../../api/modelversion.ts";
import { condition } from "../plan/conditions.ts";
import { publishedRecord } from "../plan/testing/gen.ts";
import { CONTAINER } from "../plan/trainerpod.ts";
import { eventually } from "../runtime/testing/eventually.ts";
import { deepModels, jobs, modelVersions, pods } from "./kinds.ts";
import { Scene, settled } from "./testing/scene.ts";

describe("an edited Job", () => {
  let scene: Scene;
  const key = "shop/pets-v1-a1";

  beforeEach(async () => {
    scene = await Scene.open();
    scene.kubelet.script = (run) => (run.task === "train" ? "never-ends" : { exitCode: 0 });
    await scene.begin();
    scene.declare();
    await until("Training");
    await settled(scene.server);
  });
  afterEach(() => scene.close());

  const model = () => DeepModel.parse(scene.server.get(deepModels, "shop/pets"));
  const version = () => ModelVersion.parse(scene.server.get(modelVersions, "shop/pets-v1"));
  const ready = () => condition(model().status, "Ready");
  const until = (reason: string) => eventually(() => ready()?.reason === reason, 10_000);
  const edit = (change: Record<string, unknown>, metadata: object = {}) =>
    scene.server.put(jobs, {
      ...change,
      metadata: { name: "pets-v1-a1", namespace: "shop", ...metadata },
    });
  const trainings = () => scene.kubelet.started.filter((name) => name.startsWith("pets"));
  /** The pod that trains ends well, as the kubelet tells it. */
  const publish = () =>
    scene.server.putStatus(pods, `${key}-p`, {
      phase: "Succeeded",
      containerStatuses: [
        {
          name: CONTAINER,
          state: {
            terminated: {
              exitCode: 0,
              message: publishedRecord({ uid: version().metadata.uid }),
            },
          },
        },
      ],
    });

  test("that is suspended by hand waits as in a queue once its pod has ended, and goes on", async () => {
    const podKey = `${key}-p`;
    const running = scene.server.get(pods, podKey);
    edit({ spec: { suspend: true } });
    await until("Preempted");
    scene.server.remove(pods, podKey);
    await until("Queued");
    expect(version().status?.attempts).toMatchObject([{ state: "Pending", reason: "Queued" }]);
    expect(version().status?.attempts?.[0]?.startedAt).toBeUndefined();
    expect(condition(model().status, "Stalled")).toBeUndefined();
    edit({ spec: { suspend: false } });
    const { uid: _, resourceVersion: __, ...metadata } = running?.metadata ?? {};
    scene.server.put(pods, { ...running, metadata });
    await until("Training");
    await settled(scene.server);
    expect(trainings()).toEqual(["pets-v1-a1"]);
    expect(version().status?.countedAttempts).toBe(0);
  });

  test("whose annotations and labels are changed trains on as it was made", async () => {
    const before = version().status?.attempts;
    edit({}, { annotations: { "deeptrain.dev/placement": "{}" }, labels: { team: "a" } });
    await settled(scene.server);
    expect(ready()?.reason).toBe("Training");
    expect(version().status?.attempts).toEqual(before);
    expect(trainings()).toEqual(["pets-v1-a1"]);
  });

  test.each([
    ["the label by which it is found", { labels: { "app.kubernetes.io/managed-by": "somebody" } }],
    ["its owner", { ownerReferences: [] }],
  ])(
    "that has lost %s: said, no second one beside its pod, and what it published counts",
    async (_, lost) => {
      edit({}, lost);
      await until("Stopping");
      expect(ready()?.message).toMatch(/its Job is gone/);
      await settled(scene.server);
      expect(trainings()).toEqual(["pets-v1-a1"]);
      publish();
      await scene.untilReady();
      expect(trainings()).toEqual(["pets-v1-a1", "pets-v1-a1-inspect"]);
      expect(version().status).toMatchObject({ attempts: [{ state: "Succeeded" }] });
    },
  );

  test("that is deleted after it had published is not trained again", async () => {
    publish();
    scene.server.remove(jobs, key);
    await scene.untilReady();
    expect(trainings()).toEqual(["pets-v1-a1", "pets-v1-a1-inspect"]);
  });
});
