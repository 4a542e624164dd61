// The layouts of data beside imageFolder and VOC, as a user would have them: COCO, YOLO, CSV and videos, on a real
// node.

import { beforeAll, describe, expect, test } from "vitest";
import { applyObjects } from "../../demo/apply.ts";
import { cocoArchive, csvArchive, yoloArchive } from "./annotations.ts";
import { clipArchive, clipConcepts } from "./clips.ts";
import { type Environment, environment } from "./environment.ts";
import { datasetManifest, isReady, modelManifest, type Objects, objectsIn } from "./objects.ts";
import { shapes } from "./shapes.ts";

const TRAINED_MS = 540_000;
const counts = { train: 24, val: 6, test: 6 };
const clips = { train: 4, val: 2, test: 2 };

describe("formats", () => {
  let env: Environment;
  let objects: Objects;
  let apply: (...manifests: Parameters<typeof applyObjects>[1]) => Promise<unknown>;

  beforeAll(async () => {
    env = await environment();
    const namespace = await env.namespace("formats");
    objects = objectsIn(env, namespace);
    apply = (...manifests) => applyObjects(env.client, manifests, namespace);
    const archives = {
      coco: await cocoArchive(counts),
      yolo: await yoloArchive(counts),
      csv: await csvArchive(counts),
      videoFolder: await clipArchive(clips),
    };
    for (const [format, archive] of Object.entries(archives)) {
      env.files.serve(`${format}.tar.gz`, archive);
      const source = { http: { url: env.files.url(`${format}.tar.gz`) } };
      const framesPerSecond = format === "videoFolder" ? { framesPerSecond: 4 } : {};
      await apply(datasetManifest(format.toLowerCase(), source, { format, ...framesPerSecond }));
    }
  });

  test("COCO and YOLO tell the same world", async () => {
    const coco = await objects.untilDataset("coco", isReady);
    const yolo = await objects.untilDataset("yolo", isReady);
    for (const { status } of [coco, yolo]) {
      expect(status?.data?.items).toEqual({ train: 24, validation: 6, test: 6 });
      expect(status?.data?.concepts.map(({ name }) => name)).toEqual([...shapes]);
      expect(status?.data?.invalid).toBe(0);
    }
    expect(coco.status?.data?.boxes?.train).toBeGreaterThan(24);
    expect(yolo.status?.data?.boxes).toEqual(coco.status?.data?.boxes);
  });

  test("the fast detector trains on them", async () => {
    await apply(
      modelManifest("fast", "yolo", {
        template: "visual-detector/ssdlite-efficientnet-lite0",
        hyperparameters: { image_size: 256, batch_size: 8, num_epochs: 2 },
        resources: { cpu: "2", memory: "3Gi" },
      }),
    );
    const model = await objects.untilModel("fast", isReady, TRAINED_MS);
    expect(model.status?.metrics?.split).toBe("test");
    // Six steps teach next to nothing: that it learns is a test of the trainer.
    const measured = { map: expect.any(Number), map50: expect.any(Number) };
    expect(model.status?.metrics?.values).toMatchObject(measured);
  });

  test("a format that is not named is found, and told", async () => {
    const source = { http: { url: env.files.url("yolo.tar.gz") } };
    await apply(datasetManifest("found", source, { format: "auto" }));
    const { status } = await objects.untilDataset("found", isReady);
    const named = (await objects.untilDataset("yolo", isReady)).status?.data;
    expect(status?.data).toEqual({ ...named, format: "yolo" });
  });

  test("overlapping concepts come from CSV, and what is not known of some is no mistake", async () => {
    const { status } = await objects.untilDataset("csv", isReady);
    expect(status?.data?.items).toEqual({ train: 24, validation: 6, test: 6 });
    expect(status?.data?.concepts.map(({ name }) => name)).toEqual([...shapes]);
    expect(status?.data?.boxes).toBeUndefined();
    await apply(
      modelManifest("tagger", "csv", {
        template: "context-based-classifier/linear",
        hyperparameters: { num_epochs: 40 },
        resources: { cpu: "2", memory: "3Gi" },
      }),
    );
    const model = await objects.untilModel("tagger", isReady, TRAINED_MS);
    const values = model.status?.metrics?.values ?? {};
    expect(Object.keys(values).sort()).toEqual(["best_f1_threshold", "macro_ap", "macro_f1"]);
    expect(values.macro_ap).toBeGreaterThan(0.5);
  });

  test("videos become frames, whose splits are those of their videos", async () => {
    const { status } = await objects.untilDataset("videofolder", isReady);
    expect(status?.data?.concepts.map(({ name }) => name)).toEqual([...clipConcepts]);
    expect(status?.data?.videos).toBe(16);
    // Two seconds at four frames a second, of two concepts.
    const frames = (each: number) => each * 2 * 8;
    expect(status?.data?.items).toEqual({
      train: frames(clips.train),
      validation: frames(clips.val),
      test: frames(clips.test),
    });
    expect(status?.summary).toBe("128 frames of 16 videos, 2 concepts");
  });

  test("a classifier is measured by frame and by video", async () => {
    await apply(
      modelManifest("watcher", "videofolder", {
        hyperparameters: {
          logreg: false,
          image_size: 32,
          num_epochs: 6,
          batch_size: 16,
          lrate: 0.01,
        },
      }),
    );
    const model = await objects.untilModel("watcher", isReady, TRAINED_MS);
    const values = model.status?.metrics?.values;
    expect(values?.video_top1).toBeGreaterThanOrEqual(0.75);
    expect(values?.top1).toBeGreaterThanOrEqual(0.75);
    const version = await objects.version("watcher-v1");
    expect(version?.status?.concepts?.map((row) => row.video_support)).toEqual([2, 2]);
  });
});
