// The types of templates beside the classifier, on one node: a detector from boxes to answers, and an embedder that
// becomes the base of a context-based classifier.

import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InferenceSession } from "onnxruntime-node";
import { beforeAll, describe, expect, test } from "vitest";
import type { ModelVersion } from "../../api/modelversion.ts";
import { applyObjects } from "../../demo/apply.ts";
import { fetchArtifact } from "../../demo/artifact.ts";
import { decode } from "../../demo/classify.ts";
import { vocArchive } from "./annotations.ts";
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
} from "./objects.ts";
import { picture, shapes } from "./shapes.ts";

const TRAINED_MS = 540_000;
const counts = { train: 96, val: 16, test: 24 };

describe("templates beside the classifier", () => {
  let env: Environment;
  let namespace: string;
  let objects: Objects;

  beforeAll(async () => {
    env = await environment();
    namespace = await env.namespace("templates");
    objects = objectsIn(env, namespace);
    env.files.serve("shapes.tar.gz", await vocArchive(counts));
    env.files.serve(
      "template-photos.tar.gz",
      await photoArchive({ train: 24, validation: 4, test: 6 }),
    );
    await apply(
      datasetManifest(
        "shapes",
        { http: { url: env.files.url("shapes.tar.gz") } },
        { format: "voc" },
      ),
      datasetManifest("photos", { http: { url: env.files.url("template-photos.tar.gz") } }),
    );
  });

  const apply = (...manifests: Parameters<typeof applyObjects>[1]) =>
    applyObjects(env.client, manifests, namespace);

  const detector = (hyperparameters: object = {}) =>
    modelManifest("finder", "shapes", {
      template: "visual-detector/retinanet-efficientnet-lite0",
      hyperparameters: {
        image_size: 256,
        batch_size: 8,
        num_epochs: 5,
        test_freq: 5,
        ...hyperparameters,
      },
      resources: { cpu: "2", memory: "3Gi" },
    });

  test("boxes are imported, counted and shown", async () => {
    const { status } = await objects.untilDataset("shapes", isReady);
    expect(status?.data?.items).toEqual({ train: 96, validation: 16, test: 24 });
    expect(status?.data?.concepts.map(({ name }) => name)).toEqual([...shapes]);
    expect(status?.data?.boxes?.train).toBeGreaterThan(96);
    expect(status?.data?.boxes?.clipped).toBe(0);
  });

  test("a detector of data without boxes says so before any Job", async () => {
    await objects.untilDataset("photos", isReady);
    await apply(
      modelManifest("blind", "photos", {
        template: "visual-detector/ssdlite-efficientnet-lite0",
        hyperparameters: {},
      }),
    );
    const model = await objects.untilModel("blind", isStalled);
    expect(condition(model, "Ready")).toMatchObject({ status: "False", reason: "NoBoxes" });
    expect(condition(model, "Ready")?.message).toContain("spec.datasetRef");
    expect((await objects.versions()).filter(({ spec }) => spec.model.name === "blind")).toEqual(
      [],
    );
  });

  test("a detector trains to Ready and finds what is there", async () => {
    await apply(detector());
    const model = await objects.untilModel("finder", isReady, TRAINED_MS);
    const values = model.status?.metrics?.values;
    expect(values?.map50).toBeGreaterThan(0.5);
    expect(values?.map).toBeLessThanOrEqual(values?.map50 ?? 0);
    const version = await versionOf("finder-v1");
    const found = await detect(version, (await picture(counts.train + counts.val)).png);
    expect(found.count).toBeGreaterThan(0);
  });

  test("another detection_score_threshold retrains nothing", async () => {
    await apply(detector({ detection_score_threshold: 0.55 }));
    const model = await objects.untilModel(
      "finder",
      (m) =>
        isReady(m) && m.status?.resolved?.hyperparameters.detection_score_threshold?.value === 0.55,
    );
    expect(model.status?.readyVersion).toBe("finder-v1");
    expect(model.status?.wantedVersion).toBe("finder-v1");
  });

  const context = (hyperparameters: object = {}) =>
    modelManifest("clothes", "photos", {
      template: "context-based-classifier/linear",
      base: { modelRef: { name: "looks" } },
      hyperparameters: { logreg: false, num_epochs: 20, ...hyperparameters },
    });

  test("a context-based classifier waits for its base, an embedder, and trains on its embeddings", async () => {
    await apply(context());
    const waiting = await objects.untilModel("clothes", (m) =>
      has(m, "Ready", "Unknown", "BaseNotFound"),
    );
    expect(condition(waiting, "Ready")?.message).toContain("looks");
    await apply(
      modelManifest("looks", "photos", {
        template: "visual-embedder/arcface-efficientnet-lite0",
        hyperparameters: { image_size: 64, batch_size: 32, num_epochs: 2 },
        resources: { cpu: "2", memory: "3Gi" },
      }),
    );
    const embedder = await objects.untilModel("looks", isReady, TRAINED_MS);
    expect(embedder.status?.metrics?.values.recall_at_1).toBeGreaterThan(0.2);
    const model = await objects.untilModel("clothes", isReady, TRAINED_MS);
    expect(model.status?.metrics?.values.top1).toBeGreaterThan(0.3);
    const version = await versionOf("clothes-v1");
    expect(version.spec.base).toMatchObject({ id: "model", model: { name: "looks", number: 1 } });
  });

  test("with another hyperparameter it trains anew, on the same embeddings", async () => {
    expect(await lastLog("clothes-v1")).toContain("embeddings-begun");
    await apply(context({ num_epochs: 40 }));
    const model = await objects.untilModel(
      "clothes",
      (m) => m.status?.readyVersion === "clothes-v2",
    );
    expect(isReady(model)).toBe(true);
    const log = await lastLog("clothes-v2");
    expect(log).toContain("embeddings-found");
    expect(log).not.toContain("embeddings-begun");
  });

  describe("weights by their address", () => {
    let url: string;
    let sha256: string;

    beforeAll(async () => {
      const weights = await weightsOf(await versionOf("looks-v1"));
      env.files.serve("looks.safetensors", weights);
      url = env.files.url("looks.safetensors");
      sha256 = createHash("sha256").update(weights).digest("hex");
    });

    const begunWith = (name: string, digest: string, gpus = 0) =>
      modelManifest(name, "photos", {
        template: "visual-classifier/efficientnet-lite0",
        base: { http: { url, sha256: digest } },
        hyperparameters: { logreg: false, image_size: 64, num_epochs: 1 },
        resources: { cpu: "2", memory: "3Gi", gpus },
      });
    const jobsOf = async (name: string) =>
      (await objects.jobs())
        .map(({ metadata }) => metadata.name)
        .filter((job) => job.startsWith(`${name}-`));

    test("begin a training", async () => {
      await apply(begunWith("begun", sha256));
      await objects.untilModel("begun", isReady, TRAINED_MS);
      expect((await versionOf("begun-v1")).spec.base).toEqual({
        id: "http",
        digest: `sha256:${sha256}`,
        url,
      });
    });

    test("that are others than those that were named are found before a GPU is asked for", async () => {
      await apply(begunWith("mistaken", "0".repeat(64), 1));
      const mistaken = await objects.untilModel("mistaken", isStalled, TRAINED_MS);
      expect(condition(mistaken, "Ready")).toMatchObject({ reason: "BaseUnavailable" });
      expect(condition(mistaken, "Ready")?.message).toContain("spec.base.http");
      expect(await jobsOf("mistaken")).toEqual(["mistaken-v1-a1-prepare"]);
    });

    test("are fetched and checked on the CPU; then the training waits for a GPU, and says so", async () => {
      await apply(begunWith("patient", sha256, 1));
      const version = await objects.untilVersion(
        "patient-v1",
        (each) => has(each, "Ready", "Unknown", "Unschedulable"),
        TRAINED_MS,
      );
      expect(condition(version, "Ready")?.message).toContain("Insufficient nvidia.com/gpu");
      expect((await jobsOf("patient")).sort()).toEqual(["patient-v1-a1", "patient-v1-a1-prepare"]);
      await env.kubectl("-n", namespace, "delete", "deepmodel", "patient");
    });
  });

  async function weightsOf(version: ModelVersion): Promise<Buffer> {
    const folder = await mkdtemp(join(tmpdir(), "deeptrain-weights-"));
    try {
      await fetchArtifact(env, version, env.installation.trainerImage, folder);
      return await readFile(join(folder, "weights.safetensors"));
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  async function versionOf(name: string): Promise<ModelVersion> {
    const version = await objects.version(name);
    if (version === undefined) throw new Error(`no ModelVersion ${name}`);
    return version;
  }

  const lastLog = (version: string): Promise<string> =>
    env.kubectl("-n", namespace, "logs", "-l", `deeptrain.dev/version=${version}`, "--tail=200");

  async function detect(version: ModelVersion, png: Buffer): Promise<{ count: number }> {
    const folder = await mkdtemp(join(tmpdir(), "deeptrain-detector-"));
    try {
      await fetchArtifact(env, version, env.installation.trainerImage, folder);
      expect(JSON.parse(await readFile(join(folder, "concepts.json"), "utf8"))).toEqual([
        ...shapes,
      ]);
      const preprocess = await InferenceSession.create(join(folder, "preprocess.onnx"));
      const model = await InferenceSession.create(join(folder, "model.onnx"));
      const answer = await model.run(await preprocess.run({ image: await decode(png) }));
      expect(answer.boxes?.dims).toEqual([1, 100, 4]);
      const [count] = answer.count?.data ?? [];
      return { count: Number(count) };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
});
