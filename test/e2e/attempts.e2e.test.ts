// Attempts: what a training that cannot run, dies or is stopped says, and that the cure that it names works.

import { beforeAll, describe, expect, test } from "vitest";
import { applyObjects } from "../../demo/apply.ts";
import { install } from "../../demo/install.ts";
import { photoArchive } from "./archive.ts";
import { type Environment, environment } from "./environment.ts";
import {
  condition,
  datasetManifest,
  has,
  isReady,
  isStalled,
  modelManifest,
  type Objects,
  objectsIn,
  quickHyperparameters,
} from "./objects.ts";

const long = { ...quickHyperparameters, num_epochs: 60 };
const endless = { ...quickHyperparameters, num_epochs: 1000 };

describe("attempts", () => {
  let env: Environment;
  let namespace: string;
  let objects: Objects;

  beforeAll(async () => {
    env = await environment();
    namespace = await env.namespace("attempts");
    objects = objectsIn(env, namespace);
    env.files.serve("few.tar.gz", await photoArchive({ train: 20, validation: 3, test: 3 }));
    await applyObjects(
      env.client,
      [datasetManifest("few", { http: { url: env.files.url("few.tar.gz") } })],
      namespace,
    );
    await objects.untilDataset("few", isReady);
  });

  const declare = (name: string, spec: object) =>
    applyObjects(env.client, [modelManifest(name, "few", spec)], namespace);

  test("no node fits: said in the scheduler's words, and cured by another node selector", async () => {
    await declare("placed", { scheduling: { nodeSelector: { zone: "moon" } } });
    const waiting = await objects.untilModel(
      "placed",
      (m) => has(m, "Ready", "Unknown", "Unschedulable"),
      45_000,
    );
    expect(condition(waiting, "Ready")?.message).toMatch(/node/);
    expect(isStalled(waiting)).toBe(false);
    await declare("placed", {});
    await objects.untilModel("placed", isReady);
    const version = await objects.version("placed-v1");
    expect(version?.status?.attempts?.at(-1)?.state).toBe("Succeeded");
    expect(version?.status?.countedAttempts ?? 0).toBe(0);
  });

  test("an image that cannot be pulled: named, and cured by an operator with one that can", async () => {
    const trainerImage = env.installation.trainerImage.replace(/@.*$/, `@sha256:${"0".repeat(64)}`);
    await install(env.client, { ...env.installation, trainerImage });
    try {
      await declare("unpulled", {});
      const waiting = await objects.untilModel(
        "unpulled",
        (m) => has(m, "Ready", "Unknown", "ImagePullFailed"),
        60_000,
      );
      expect(condition(waiting, "Ready")?.message).toMatch(/cannot be pulled.*NotFound/);
      expect(isStalled(waiting)).toBe(false);
    } finally {
      await install(env.client, env.installation);
    }
    await objects.untilModel("unpulled", isReady);
    expect((await objects.version("unpulled-v1"))?.status?.countedAttempts ?? 0).toBe(0);
  });

  test("too little memory: named with the limit, not repeated blindly, cured by more", async () => {
    await declare("hungry", { resources: { cpu: "1", memory: "150Mi" } });
    const failed = await objects.untilModel("hungry", isStalled);
    expect(condition(failed, "Ready")?.reason).toBe("OutOfMemory");
    expect(condition(failed, "Ready")?.message).toContain("150Mi");
    expect((await objects.version("hungry-v1"))?.status?.attempts).toHaveLength(1);
    await declare("hungry", { resources: { cpu: "1", memory: "2Gi" } });
    await objects.untilModel("hungry", isReady);
    expect((await objects.version("hungry-v1"))?.status?.attempts).toHaveLength(2);
  });

  test("a pod that is killed goes on from its checkpoint", async () => {
    await declare("killed", { hyperparameters: long });
    await objects.untilVersion("killed-v1", ({ status }) => (status?.checkpoint?.epoch ?? 0) >= 1);
    await env.kubectl(
      "-n",
      namespace,
      "delete",
      "pod",
      "-l",
      "deeptrain.dev/version=killed-v1",
      "--force",
      "--grace-period=0",
    );
    const model = await objects.untilModel("killed", isReady);
    expect(model.status?.readyVersion).toBe("killed-v1");
    const version = await objects.version("killed-v1");
    expect(version?.status?.attempts?.length).toBeGreaterThan(1);
    expect(version?.status?.attempts?.at(-1)?.startedFromStep).toBeGreaterThan(0);
  });

  test("suspending stops at a checkpoint, resuming goes on from it", async () => {
    await declare("paused", { hyperparameters: endless });
    await objects.untilVersion("paused-v1", ({ status }) => (status?.progress?.epoch ?? 0) >= 2);
    await declare("paused", { hyperparameters: endless, suspend: true });
    const suspended = await objects.untilModel("paused", (m) =>
      has(m, "Ready", "False", "Suspended"),
    );
    expect(isStalled(suspended)).toBe(false);
    const stopped = await objects.untilVersion(
      "paused-v1",
      ({ status }) => status?.attempts?.at(-1)?.state === "Stopped",
    );
    const step = stopped.status?.checkpoint?.step ?? 0;
    expect(step).toBeGreaterThan(0);
    expect(await objects.pods({ version: "paused-v1" })).toEqual([]);
    await declare("paused", { hyperparameters: endless });
    const resumed = await objects.untilVersion(
      "paused-v1",
      ({ status }) => (status?.attempts?.at(-1)?.startedFromStep ?? 0) > 0,
    );
    expect(resumed.status?.attempts?.at(-1)?.startedFromStep).toBeGreaterThanOrEqual(step);
    expect(resumed.status?.countedAttempts ?? 0).toBe(0);
    await env.kubectl("-n", namespace, "delete", "dm/paused");
  });

  test("a run that is superseded stops, and the wanted one trains", async () => {
    await declare("changed", { hyperparameters: endless });
    await objects.untilVersion("changed-v1", ({ status }) => (status?.progress?.epoch ?? 0) >= 1);
    await declare("changed", {});
    const model = await objects.untilModel("changed", isReady);
    expect(model.status?.readyVersion).toBe("changed-v2");
    const first = await objects.version("changed-v1");
    expect(first?.status?.attempts?.at(-1)?.state).toBe("Stopped");
    expect(condition(first, "Ready")?.reason).toBe("Superseded");
  });

  test("a deadline is named, and a longer one cures it", async () => {
    await declare("slow", { hyperparameters: long, activeDeadlineSeconds: 12 });
    const failed = await objects.untilModel("slow", isStalled);
    expect(condition(failed, "Ready")?.reason).toBe("DeadlineExceeded");
    await declare("slow", { hyperparameters: long, activeDeadlineSeconds: 600 });
    await objects.untilModel("slow", isReady);
  });

  test("a rate at which it diverges is named with what to try", async () => {
    await declare("wild", {
      hyperparameters: { ...quickHyperparameters, num_epochs: 6, lrate: 900 },
    });
    const failed = await objects.untilModel("wild", isStalled);
    expect(condition(failed, "Ready")?.reason).toBe("Diverged");
    expect(condition(failed, "Ready")?.message).toContain("450");
    const before = (await objects.version("wild-v1"))?.status?.attempts?.length;
    await env.kubectl("-n", namespace, "annotate", "dm/wild", "deeptrain.dev/retry=again");
    const again = await objects.untilVersion(
      "wild-v1",
      ({ status }) => (status?.attempts?.length ?? 0) > (before ?? 0),
    );
    expect(again.status?.lastHandledRetry).toBe("again");
  });

  test("the node agent may die in mid-training", async () => {
    await declare("unattended", { hyperparameters: long });
    await objects.untilVersion(
      "unattended-v1",
      ({ status }) => (status?.progress?.epoch ?? 0) >= 2,
    );
    await env.cluster.node.kill("kubelet");
    await env.cluster.node.start("kubelet");
    await objects.untilModel("unattended", isReady);
    expect((await objects.version("unattended-v1"))?.status?.attempts).toHaveLength(1);
  });
});
