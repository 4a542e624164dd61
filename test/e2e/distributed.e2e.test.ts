// Several pods that train one model: they meet, end together when one is lost, and go on from the checkpoint.

import { readdir, readFile } from "node:fs/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { applyObjects } from "../../demo/apply.ts";
import { photoArchive } from "./archive.ts";
import { type Environment, environment } from "./environment.ts";
import {
  condition,
  datasetManifest,
  isReady,
  isStalled,
  modelManifest,
  type Objects,
  objectsIn,
  quickHyperparameters,
} from "./objects.ts";

const nodes = { cpu: "1", memory: "2Gi", nodes: 2 };

describe("two pods that train one model", () => {
  let env: Environment;
  let namespace: string;
  let objects: Objects;

  beforeAll(async () => {
    env = await environment();
    namespace = await env.namespace("distributed");
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

  test("a batch that they cannot share evenly is refused before any Job", async () => {
    await declare("odd", {
      resources: nodes,
      hyperparameters: { ...quickHyperparameters, batch_size: 33 },
    });
    const refused = await objects.untilModel("odd", isStalled);
    expect(condition(refused, "Accepted")?.reason).toBe("BatchNotDivisible");
    expect(condition(refused, "Accepted")?.message).toContain("32 or 34");
    expect(await objects.jobs()).not.toContainEqual(
      expect.objectContaining({ metadata: expect.objectContaining({ name: "odd-v1-a1" }) }),
    );
  });

  test("a lost pod ends both, and the next attempt goes on from the checkpoint", async () => {
    await declare("shared", {
      resources: nodes,
      hyperparameters: { ...quickHyperparameters, num_epochs: 12 },
    });
    await objects.untilVersion("shared-v1", ({ status }) => (status?.checkpoint?.epoch ?? 0) >= 1);
    const pods = await objects.pods({ version: "shared-v1" });
    expect(pods).toHaveLength(2);
    const worker = pods.find(({ metadata }) => metadata.name.startsWith("shared-v1-a1-1-"));
    const uid = await env.kubectl(
      "-n",
      namespace,
      "get",
      "pod",
      String(worker?.metadata.name),
      "-o=jsonpath={.metadata.uid}",
    );
    expect(await killTrainer(uid.trim())).toBeGreaterThan(0);
    const model = await objects.untilModel("shared", isReady, 480_000);
    expect(model.status?.readyVersion).toBe("shared-v1");
    const attempts = (await objects.version("shared-v1"))?.status?.attempts ?? [];
    expect(attempts.map(({ state }) => state)).toEqual(["Failed", "Succeeded"]);
    expect(attempts.at(-1)?.startedFromStep).toBeGreaterThan(0);
  });
});

/**
 * Kills the trainer in a pod with SIGKILL, from this machine, and tells how many processes that were. To delete the pod
 * would not do: the kubelet sends a SIGTERM even by force, and heard in time, all stop at a checkpoint.
 */
async function killTrainer(podUid: string): Promise<number> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  let killed = 0;
  for (const pid of pids) {
    const groups = await readFile(`/proc/${pid}/cgroup`, "utf8").catch(() => "");
    const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (groups.includes(podUid) && command.includes("deeptrain_trainer")) {
      process.kill(Number(pid), "SIGKILL");
      killed += 1;
    }
  }
  return killed;
}
