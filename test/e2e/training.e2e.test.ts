// The main job: declare a classifier, and it trains. One story, told in order on one node.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { applyObjects } from "../../demo/apply.ts";
import { fetchArtifact } from "../../demo/artifact.ts";
import { openClassifier } from "../../demo/classify.ts";
import { concepts, testPhotos } from "../../demo/photos.ts";
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

const counts = { train: 60, validation: 6, test: 12 };

describe("a declared classifier", () => {
  let env: Environment;
  let namespace: string;
  let objects: Objects;

  beforeAll(async () => {
    env = await environment();
    namespace = await env.namespace("training");
    objects = objectsIn(env, namespace);
    env.files.serve("photos.tar.gz", await photoArchive(counts));
  });

  const apply = (...manifests: Parameters<typeof applyObjects>[1]) =>
    applyObjects(env.client, manifests, namespace);

  test("waits for its dataset and says for what", async () => {
    await apply(modelManifest("clothes", "photos"));
    const model = await objects.untilModel("clothes", (m) =>
      has(m, "Ready", "Unknown", "DatasetNotFound"),
    );
    expect(condition(model, "Ready")?.message).toContain("photos");
    expect(has(model, "Accepted", "True")).toBe(true);
    expect(has(model, "Reconciling", "True")).toBe(true);
    expect(has(model, "Available", "False")).toBe(true);
    expect(await objects.versions()).toEqual([]);
  });

  test("trains when the dataset comes, with progress, and becomes Ready", async () => {
    await apply(datasetManifest("photos", { http: { url: env.files.url("photos.tar.gz") } }));
    const dataset = await objects.untilDataset("photos", isReady);
    expect(dataset.status?.data?.items).toEqual({ train: 600, validation: 60, test: 120 });
    expect(dataset.status?.data?.concepts.map(({ name }) => name)).toEqual([...concepts].sort());

    const model = await objects.untilModel("clothes", isReady);
    expect(model.status?.readyVersion).toBe("clothes-v1");
    expect(model.status?.metrics?.split).toBe("test");
    expect(model.status?.metrics?.values.top1).toBeGreaterThan(0.2);
    expect(has(model, "Available", "True")).toBe(true);
    expect(condition(model, "Reconciling")).toBeUndefined();

    const version = await objects.version("clothes-v1");
    expect(version?.status?.artifact?.bytes).toBeGreaterThan(1_000_000);
    expect(version?.status?.history?.map(({ epoch }) => epoch)).toEqual([1, 2]);
    expect(version?.status?.progress?.imagesPerSecond).toBeGreaterThan(0);
    expect(JSON.stringify(version).length).toBeLessThan(8 * 1024);
  });

  test("kubectl wait, get and explain say what a user expects", async () => {
    await env.kubectl(
      "-n",
      namespace,
      "wait",
      "dm/clothes",
      "--for=condition=Ready",
      "--timeout=5s",
    );
    const table = await env.kubectl("-n", namespace, "get", "dm");
    expect(table).toMatch(/NAME\s+READY\s+REASON\s+SERVING\s+EPOCH\s+METRIC\s+AGE/);
    expect(table).toMatch(/clothes\s+True\s+Trained\s+clothes-v1\s+2\/2.*top1 0\.\d+/);
    const events = await env.kubectl("-n", namespace, "get", "events");
    expect(events).toContain("Trained");
    expect(await env.kubectl("explain", "deepmodel.spec.hyperparameters.lrate")).toContain(
      "learning rate",
    );
  });

  test("its artifact is right under onnxruntime-node as often as the trainer said of the test split", async () => {
    const version = await objects.version("clothes-v1");
    if (version === undefined) throw new Error("no version");
    const folder = await mkdtemp(join(tmpdir(), "deeptrain-artifact-"));
    try {
      await fetchArtifact(env, version, env.installation.trainerImage, folder);
      const classifier = await openClassifier(folder);
      const photos = await testPhotos(counts);
      let right = 0;
      for (const { png, concept } of photos) {
        if ((await classifier.classify(png)).concept === concept) right += 1;
      }
      expect(version.status?.metrics?.items).toBe(photos.length);
      // Of two equal scores either may win: one photo's worth of room.
      const difference = right / photos.length - (version.status?.metrics?.values.top1 ?? 0);
      expect(Math.abs(difference)).toBeLessThanOrEqual(1 / photos.length + 1e-9);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  test("a label, a gate or more memory starts nothing", async () => {
    await env.kubectl("-n", namespace, "label", "dm/clothes", "team=shop");
    await apply(
      modelManifest("clothes", "photos", {
        gates: [{ metric: "top1", min: 0.05 }],
        resources: { cpu: "1", memory: "2500Mi" },
      }),
    );
    await objects.untilModel("clothes", isReady);
    expect(await objects.versions()).toHaveLength(1);
    expect(await objects.jobs()).toHaveLength(2);
  });

  test("another hyperparameter makes v2, while v1 goes on serving, even when the operator is restarted", async () => {
    await apply(
      modelManifest("clothes", "photos", {
        hyperparameters: { ...quickHyperparameters, num_epochs: 30 },
      }),
    );
    await objects.untilVersion("clothes-v2", ({ status }) => (status?.progress?.epoch ?? 0) >= 2);
    const during = await objects.model("clothes");
    expect(during?.status?.readyVersion).toBe("clothes-v1");
    expect(has(during, "Available", "True")).toBe(true);
    expect(has(during, "Ready", "Unknown", "Training")).toBe(true);

    const pods = await objects.pods({ version: "clothes-v2" });
    await env.kubectl("-n", env.installation.namespace, "delete", "pod", "--all", "--now");
    const model = await objects.untilModel("clothes", isReady);
    expect(model.status?.readyVersion).toBe("clothes-v2");
    const version = await objects.version("clothes-v2");
    expect(version?.status?.attempts).toHaveLength(1);
    expect(version?.status?.history?.at(-1)?.epoch).toBe(30);
    const after = await objects.pods({ version: "clothes-v2" });
    expect(after.map(({ metadata }) => metadata.uid)).toEqual(
      pods.map(({ metadata }) => metadata.uid),
    );
  });

  test("reverting goes back to v1 without training", async () => {
    const jobs = (await objects.jobs()).length;
    await apply(modelManifest("clothes", "photos"));
    const model = await objects.untilModel("clothes", isReady, 20_000);
    expect(model.status?.readyVersion).toBe("clothes-v1");
    expect(await objects.jobs()).toHaveLength(jobs);
  });

  test("a gate that is not met makes Ready False and withdraws nothing", async () => {
    await apply(modelManifest("clothes", "photos", { gates: [{ metric: "top1", min: 0.9999 }] }));
    const model = await objects.untilModel("clothes", (m) =>
      has(m, "Ready", "False", "GateNotMet"),
    );
    expect(has(model, "Available", "True")).toBe(true);
    expect(model.status?.readyVersion).toBe("clothes-v1");
  });

  test("deleting it removes what we made, and a recreated model is a new one", async () => {
    await env.kubectl("-n", namespace, "delete", "dm/clothes", "--wait", "--cascade=foreground");
    expect(await objects.versions()).toEqual([]);
    const pods = ["clothes-v1", "clothes-v2"].map((version) => objects.pods({ version }));
    expect((await Promise.all(pods)).flat()).toEqual([]);
    await apply(modelManifest("clothes", "photos"));
    const model = await objects.untilModel("clothes", isReady);
    expect(model.status?.readyVersion).toBe("clothes-v1");
  });

  test("a pretrained base is in the image, for the user that trains", async () => {
    const hyperparameters = { ...quickHyperparameters, image_size: 64, lrate: 0.001 };
    const template = "visual-classifier/efficientnet-lite0";
    await apply(modelManifest("tuned", "photos", { template, hyperparameters }));
    const model = await objects.untilModel("tuned", (each) => isReady(each) || isStalled(each));
    expect(condition(model, "Ready")?.message).toContain("top1");
    const { name, loaded, new: fresh } = model.status?.resolved?.base ?? {};
    expect(name).toBe("efficientnet-lite0");
    // All but the head's weight and bias.
    expect([(loaded ?? 0) > 200, fresh]).toEqual([true, 2]);
  });

  test("the namespace goes when it is deleted in mid-training", async () => {
    await apply(
      modelManifest("clothes", "photos", {
        hyperparameters: { ...quickHyperparameters, num_epochs: 500 },
      }),
    );
    await objects.untilVersion("clothes-v2", ({ status }) => (status?.progress?.epoch ?? 0) >= 1);
    await env.kubectl("delete", "namespace", namespace, "--timeout=120s");
  });
});
