// The Jobs as they are posted: a change of these files is a change of what runs in people's clusters.

import { describe, expect, test } from "vitest";
import type { DatasetSpec } from "../../api/dataset.ts";
import type { DeepModelSpec } from "../../api/deepmodel.ts";
import { annotation } from "../../api/group.ts";
import { importInputsHash } from "../../api/inputs.ts";
import type { ModelVersionSpec } from "../../api/modelversion.ts";
import { RunFile } from "../../api/run.ts";
import { attemptInputs } from "./attempt.ts";
import { importItems, importJob, importJobName } from "./importjob.ts";
import { placementDigest, placementOf } from "./placement.ts";
import type { Manifest } from "./plan.ts";
import { isOneNode, storeClaim } from "./store.ts";
import { dataset, datasetSpec, model, settings, T0, version } from "./testing/gen.ts";
import { sharedMemoryBytes } from "./trainerpod.ts";
import {
  inspectJob,
  inspectJobName,
  prepareJob,
  prepareJobName,
  trainingJob,
  trainingJobName,
} from "./trainingjob.ts";

const text = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

const inputs = {
  version: version(),
  attempt: 1,
  placement: placementOf({
    ...model().spec,
    resources: { gpus: 1, cpu: "3500m", memory: "16Gi" },
    scheduling: {
      nodeSelector: { zone: "a" },
      tolerations: [{ key: "gpu", operator: "Exists", effect: "NoSchedule" }],
      priorityClassName: "high",
      runtimeClassName: "nvidia",
    },
    activeDeadlineSeconds: 3600,
  }),
  threads: 3,
  oneNode: true,
};

const training = trainingJob(inputs, settings);
const preparation = prepareJob(inputs, settings);
const imports = importJob(
  { dataset: dataset(), inputsHash: importInputsHash(datasetSpec), attempt: 1, oneNode: false },
  settings,
);
const claimed = importJob(
  {
    dataset: dataset({ spec: { source: { pvc: { claimName: "photos", path: "2026/shop" } } } }),
    inputsHash: importInputsHash(datasetSpec),
    attempt: 2,
    oneNode: false,
  },
  settings,
);

interface Template {
  metadata: { annotations: Record<string, string>; labels: Record<string, string> };
  spec: {
    volumes: { name: string }[];
    containers: [
      { volumeMounts: { name: string; mountPath: string; subPath?: string; readOnly?: boolean }[] },
    ];
  };
}
const templateOf = (job: Manifest): Template => (job.spec as { template: Template }).template;

describe("Jobs", () => {
  test("training", () => expect(text(training)).toMatchFileSnapshot("testdata/training-job.json"));
  test("preparation", () =>
    expect(text(preparation)).toMatchFileSnapshot("testdata/prepare-job.json"));
  test("inspection", () =>
    expect(text(inspectJob(inputs, settings))).toMatchFileSnapshot("testdata/inspect-job.json"));
  test("import over HTTP", () =>
    expect(text(imports)).toMatchFileSnapshot("testdata/import-job.json"));
  test("import of a claim", () =>
    expect(text(claimed)).toMatchFileSnapshot("testdata/import-claim-job.json"));
  test("claim", () =>
    expect(
      text(
        storeClaim("shop", { size: "10Gi", accessMode: "ReadWriteMany", storageClassName: "nfs" }),
      ),
    ).toMatchFileSnapshot("testdata/store-claim.json"));

  test.each([
    ["training", training],
    ["preparation", preparation],
    ["inspection", inspectJob(inputs, settings)],
    ["import", imports],
    ["claim import", claimed],
  ])("%s carries a run file that the trainer's schema takes", (_, job) => {
    const run = templateOf(job).metadata.annotations[annotation.run];
    expect(RunFile.parse(JSON.parse(run ?? ""))).toMatchObject({ attempt: expect.any(Number) });
  });

  test("only the importer writes to the datasets", () => {
    const store = (job: Manifest) =>
      templateOf(job).spec.containers[0].volumeMounts.filter(({ name }) => name === "store");
    expect(store(imports)).toEqual([
      { name: "store", subPath: "shop/datasets", mountPath: "/datasets", readOnly: false },
    ]);
    expect(store(training)).toMatchObject([
      { mountPath: "/data", readOnly: true },
      { mountPath: "/output", readOnly: false },
    ]);
  });

  test("a version has a directory of its own, of this very model, for all of its attempts", () => {
    const output = (of: Partial<typeof inputs>) =>
      templateOf(trainingJob({ ...inputs, ...of }, settings)).spec.containers[0].volumeMounts.find(
        ({ mountPath }) => mountPath === "/output",
      );
    const again = { ...version().spec, model: { name: "pets", uid: "another-uid" } };
    const first = output({});
    expect(first).toMatchObject({ subPath: "shop/models/pets-uid-pets/v1", readOnly: false });
    expect(output({ attempt: 2 })).toEqual(first);
    const others = [version({ number: 2 }), version({ spec: again })].map((each) =>
      output({ version: each }),
    );
    expect(new Set([first, ...others].map((mount) => JSON.stringify(mount))).size).toBe(3);
  });

  test("a version trains on the data that it was made of, whatever they are by now", () => {
    const digest = `sha256:${"b".repeat(64)}`;
    const pinned = version({ spec: { dataset: { ...version().spec.dataset, digest } } });
    const job = trainingJob({ ...inputs, version: pinned }, settings);
    const template = templateOf(job);
    const run = RunFile.parse(JSON.parse(template.metadata.annotations[annotation.run] ?? ""));
    expect(run).toMatchObject({ dataset: { path: "/data", digest } });
    const data = template.spec.containers[0].volumeMounts.find(
      ({ mountPath }) => mountPath === "/data",
    );
    expect(data).toMatchObject({
      subPath: expect.stringContaining("b".repeat(64)),
      readOnly: true,
    });
  });

  test("the operator's own words never come into the hash of what is trained", () => {
    const upgraded = trainingJob(inputs, { ...settings, trainerImage: "registry.test/other:9" });
    const run = (job: Manifest) => templateOf(job).metadata.annotations[annotation.run];
    expect(run(upgraded)).toBe(run(training));
  });
});

describe("what prepares a training with GPUs", () => {
  type Spec = Record<string, unknown> & { containers: [{ resources: unknown }] };
  const specOf = (job: Manifest): Spec => (job.spec as { template: { spec: Spec } }).template.spec;

  test("runs where the training may run, but needs no GPU, nor what hands them out", () => {
    const [before, after] = [specOf(preparation), specOf(training)];
    for (const field of ["nodeSelector", "tolerations", "priorityClassName", "affinity"]) {
      expect(after[field]).toBeDefined();
      expect(before[field]).toEqual(after[field]);
    }
    expect(after).toMatchObject({ runtimeClassName: "nvidia" });
    expect(before).not.toHaveProperty("runtimeClassName");
    expect(before.containers[0].resources).toEqual({
      requests: { cpu: "1750m", memory: "16Gi" },
      limits: { cpu: "3500m", memory: "16Gi" },
    });
    expect(preparation.spec).toMatchObject({ activeDeadlineSeconds: 3600, parallelism: 1 });
  });

  test("waits in the training's queue, for what it asks for itself", () => {
    const scheduling = { queueName: "vision", runtimeClassName: "nvidia" };
    const queued = prepareJob(
      { ...inputs, placement: { ...inputs.placement, scheduling } },
      settings,
    );
    expect(queued.metadata.labels).toMatchObject({ "kueue.x-k8s.io/queue-name": "vision" });
    expect(specOf(queued)).not.toHaveProperty("queueName");
    expect(specOf(queued)).not.toHaveProperty("runtimeClassName");
  });

  test.each<[string, Partial<ModelVersionSpec>]>([
    [
      "an address",
      { base: { id: "http", digest: `sha256:${"b".repeat(64)}`, url: "https://a/w" } },
    ],
    ["a head", { template: "context-based-classifier/linear" }],
    ["a detector", { template: "visual-detector/ssdlite-efficientnet-lite0" }],
  ])("is told the same of %s, and sees the same of the store but for the output", (_, spec) => {
    const placed = { ...inputs.placement, nodes: 2, gpus: 4 };
    const given = { ...inputs, version: version({ spec }), placement: placed };
    const told = [prepareJob(given, settings), trainingJob(given, settings)].map((job) => {
      const { metadata, spec: pod } = templateOf(job);
      const run: Record<string, unknown> = RunFile.parse(
        JSON.parse(metadata.annotations[annotation.run] ?? ""),
      );
      return { run, mounts: pod.containers[0].volumeMounts };
    });
    const [before, after] = told;
    const { task, ...rest } = before?.run ?? {};
    expect(task).toBe("prepare");
    expect(after?.run).toMatchObject(rest);
    const isOutput = ({ mountPath }: { mountPath: string }) => mountPath === "/output";
    expect(before?.mounts).toEqual(after?.mounts.filter((mount) => !isOutput(mount)));
  });
});

test("a default of memory is for each GPU, and of one process for what precedes them", () => {
  const placed = placementOf({ ...model().spec, resources: { gpus: 4 } });
  const memory = [prepareJob, trainingJob].map((jobOf) => {
    const job = JSON.stringify(jobOf({ ...inputs, placement: placed }, settings));
    return [...job.matchAll(/"memory":"([0-9A-Za-z]+)"/g)].map(([, value]) => value);
  });
  expect(memory.map((values) => [...new Set(values)])).toEqual([["4Gi"], ["16Gi"]]);
});

describe("what a training sees beside its data", () => {
  const seen = (spec: Partial<ModelVersionSpec>, asked: Partial<DeepModelSpec> = {}) => {
    const made = version({ spec });
    const world = { version: made, claim: undefined, settings };
    const job = trainingJob(attemptInputs(world, model({ spec: asked }), 1, 2), settings);
    const template = templateOf(job);
    const run = RunFile.parse(JSON.parse(template.metadata.annotations[annotation.run] ?? ""));
    const mounts = template.spec.containers[0].volumeMounts.filter(
      ({ name, mountPath }) => name === "store" && !["/data", "/output"].includes(mountPath),
    );
    return { run, mounts };
  };
  const digest = `sha256:${"b".repeat(64)}`;

  test("nothing, with weights of the image, or none", () => {
    expect(seen({ base: { id: "none" } })).toMatchObject({
      run: { base: { id: "none" } },
      mounts: [],
    });
    const base = { id: "efficientnet-lite0", digest };
    expect(seen({ base })).toMatchObject({ run: { base }, mounts: [] });
  });

  test("the namespace's fetched weights, with an address: the one that the DeepModel has now", () => {
    const base = { id: "http", digest, url: "https://a.test/w" };
    expect(seen({ base })).toMatchObject({
      run: { base: { ...base, path: "/bases", denyPrivateSources: false } },
      mounts: [{ subPath: "shop/bases", mountPath: "/bases", readOnly: false }],
    });
    const http = { url: "https://b.test/w", sha256: "b".repeat(64) };
    expect(seen({ base }, { base: { http } }).run).toMatchObject({ base: { url: http.url } });
  });

  test("the artifact of the version that is the base, read-only", () => {
    const path = "shop/models/backbone-12345678/v3/artifact";
    const found = { name: "backbone", uid: "uid", number: 3, path };
    expect(seen({ base: { id: "model", digest, model: found } })).toMatchObject({
      run: { base: { id: "model", digest, path: "/base" } },
      mounts: [{ subPath: path, mountPath: "/base", readOnly: true }],
    });
  });

  test("what is derived of its dataset, under a head", () => {
    const { run, mounts } = seen({
      template: "context-based-classifier/linear",
      base: { id: "efficientnet-lite0", digest },
    });
    expect(run).toMatchObject({ derived: "/derived" });
    const hex = version().spec.dataset.digest.slice("sha256:".length);
    expect(mounts).toMatchObject([
      { subPath: `shop/derived/${hex}`, mountPath: "/derived", readOnly: false },
    ]);
    expect(seen({}).run).not.toHaveProperty("derived");
  });

  test("a detector's score threshold, as the DeepModel has it now", () => {
    const detector = {
      template: "visual-detector/ssdlite-efficientnet-lite0",
      templateRevision: 1,
    } as const;
    expect(seen(detector).run).toMatchObject({ detection_score_threshold: 0.3 });
    const asked = { hyperparameters: { detection_score_threshold: 0.05 } };
    expect(seen(detector, asked).run).toMatchObject({ detection_score_threshold: 0.05 });
    expect(seen({}, asked).run).not.toHaveProperty("detection_score_threshold");
  });

  test("another address of the base is another placement, as more memory is", () => {
    const digestOf = (base: DeepModelSpec["base"]) =>
      placementDigest(placementOf(model({ spec: base === undefined ? {} : { base } }).spec));
    const at = (url: string) => digestOf({ http: { url, sha256: "b".repeat(64) } });
    expect(at("https://a.test/w")).not.toBe(at("https://b.test/w"));
    expect(digestOf({ name: "none" })).toBe(digestOf(undefined));
  });

  test("more memory is another placement, another release's default is none", () => {
    const asked = (memory: string) => placementOf(model({ spec: { resources: { memory } } }).spec);
    const unasked = placementOf(model().spec);
    expect(placementDigest(asked("8Gi"))).not.toBe(placementDigest(asked("4Gi")));
    expect(placementDigest({ ...unasked, memory: "9Gi" })).toBe(placementDigest(unasked));
    expect(placementDigest(asked(unasked.memory))).not.toBe(placementDigest(unasked));
  });
});

describe("an import of videos", () => {
  const framesOf = (spec: Partial<DatasetSpec>): unknown => {
    const job = importJob(
      {
        dataset: dataset({ spec }),
        inputsHash: importInputsHash(datasetSpec),
        attempt: 1,
        oneNode: false,
      },
      settings,
    );
    const run = RunFile.parse(
      JSON.parse(templateOf(job).metadata.annotations[annotation.run] ?? ""),
    );
    return run.task === "import" ? run.framesPerSecond : undefined;
  };

  test("takes one frame a second, or as many as are asked for", () => {
    expect(framesOf({ format: "videoFolder" })).toBe(1);
    expect(framesOf({ format: "videoFolder", framesPerSecond: 0.5 })).toBe(0.5);
    expect(framesOf({ format: "auto", framesPerSecond: 2 })).toBe(2);
    expect(framesOf({ format: "coco" })).toBeUndefined();
  });
});

describe("names", () => {
  test("of the longest name fit into a label", () => {
    const long = "m".repeat(40);
    const names = [
      trainingJobName(`${long}-v9999`, 9999),
      inspectJobName(`${long}-v9999`, 9999),
      prepareJobName(`${long}-v9999`, 9999),
      importJobName(long, `sha256:${"a".repeat(64)}`, 9999),
    ];
    for (const name of names) expect(name.length).toBeLessThanOrEqual(63);
  });
});

describe("/dev/shm", () => {
  test.each([
    ["1Gi", 2 ** 28],
    ["8Gi", 2 ** 31],
    ["64Gi", 2 ** 31],
    ["150Mi", 150 * 2 ** 18],
  ])("is a quarter of %s, at most 2 GiB", (memory, bytes) => {
    expect(sharedMemoryBytes(memory)).toBe(bytes);
  });
});

describe("the store", () => {
  const store = { size: "1Gi", accessMode: "ReadWriteMany" as const };
  const claim = (modes: string[]) => ({
    metadata: { name: "c", namespace: "n", uid: "u", resourceVersion: "1", creationTimestamp: T0 },
    spec: { accessModes: modes },
  });

  test.each([
    [["ReadWriteOnce"], true],
    [["ReadWriteOnce", "ReadWriteMany"], false],
    [["ReadWriteMany"], false],
  ])("%j keeps its pods on one node: %s", (modes, want) => {
    expect(isOneNode(claim(modes), store)).toBe(want);
  });

  test("of the installation's settings, before it is there", () => {
    expect(isOneNode(undefined, store)).toBe(false);
    expect(isOneNode(undefined, { ...store, accessMode: "ReadWriteOnce" })).toBe(true);
  });
});

test.each([
  ["512Mi", 2 ** 18],
  ["2Gi", 2 ** 20],
  ["3Gi", 2 * 2 ** 20],
  ["none", 2 ** 20],
  ["0Gi", 1],
])("an import with %s of memory may have %i items", (memory, want) => {
  expect(importItems(memory)).toBe(want);
});
