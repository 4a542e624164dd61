import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Kind, kindSchema, kinds } from "../../api/crd.ts";
import { API_VERSION, GROUP } from "../../api/group.ts";
import { structuralSchema } from "../../api/structural.ts";
import { type ControlPlane, startControlPlane } from "../../cluster/controlplane.ts";
import { kubectl } from "../../cluster/kubectl.ts";
import {
  type Answer,
  type ApiServer,
  apiServer,
  collection,
  installKinds,
} from "./customresources.ts";
import { object } from "./manifest.ts";
import { arbitraryOf, filled, hasLeaf, schemaLeaves } from "./sample.ts";

let controlPlane: ControlPlane;
let api: ApiServer;
const run = (...args: string[]) => kubectl(controlPlane.kubeconfig, args);

beforeAll(async () => {
  controlPlane = await startControlPlane({ name: "contract-kinds" });
  api = await apiServer(controlPlane.kubeconfig);
  await installKinds(api);
});
afterAll(() => controlPlane?.stop());

const created = async (manifest: ReturnType<typeof object>): Promise<Answer["body"]> => {
  const answer = await api.call("POST", collection(manifest.kind), manifest);
  expect(answer.code, answer.message).toBe(201);
  return answer.body;
};
const objectPath = (kind: string, name: string) => `${collection(kind)}/${name}`;
const merge = (kind: string, name: string, patch: unknown, subresource = "") =>
  api.call(
    "PATCH",
    `${objectPath(kind, name)}${subresource}?fieldValidation=Strict`,
    patch,
    "application/merge-patch+json",
  );

const photos = { template: "visual-classifier/resnet18", datasetRef: { name: "photos" } };
const named = (name: string): Kind => {
  const kind = kinds.find((candidate) => candidate.kind === name);
  if (kind === undefined) throw new Error(`No kind ${name}`);
  return kind;
};

describe("kubectl", () => {
  it("knows the kinds by their short names and their category", async () => {
    const listed = await run(
      "api-resources",
      `--api-group=${GROUP}`,
      "--categories=deeptrain",
      "--no-headers",
    );
    expect(
      listed
        .trim()
        .split("\n")
        .map((line) => line.split(/\s+/).slice(0, 2)),
    ).toEqual([
      ["datasets", "dset"],
      ["deepmodels", "dm"],
      ["modelversions", "mv"],
    ]);
  });

  it.each(kinds.map((kind) => [kind.kind, kind] as const))(
    "explains every field of a %s",
    async (_, kind) => {
      const explained = (await run("explain", kind.plural, "--recursive")).replace(/\s+/g, " ");
      const text = async (path: string) =>
        (await run("explain", `${kind.plural}.${path}`)).replace(/\s+/g, " ");
      const { spec = {}, status = {} } = kindSchema(kind).properties ?? {};
      expect(explained).toContain(kind.description);
      for (const [part, schema] of [
        ["spec", spec],
        ["status", status],
      ] as const) {
        const printed = await text(part);
        for (const [name, { description }] of Object.entries(schema.properties ?? {}))
          expect(printed, `${part}.${name}`).toContain(description);
      }
    },
  );

  it("explains a hyperparameter", async () => {
    const explained = await run("explain", "dm.spec.hyperparameters.image_size");
    expect(explained.replace(/\s+/g, " ")).toContain("64 to 1024 in steps of 32");
  });

  it("shows a model's columns", async () => {
    await created(object("DeepModel", photos, "columns"));
    const status = {
      observedGeneration: 1,
      readyVersion: "columns-v3",
      metric: "top1 0.912",
      progress: { ...progress, display: "3/10 30 % 2m" },
      conditions: [
        {
          type: "Ready",
          status: "Unknown",
          reason: "Training",
          message: "epoch 3 of 10",
          observedGeneration: 1,
          lastTransitionTime: "2026-01-01T00:00:00Z",
        },
      ],
    };
    const answer = await merge("DeepModel", "columns", { status }, "/status");
    expect(answer.code, answer.message).toBe(200);
    const [header = "", row = ""] = (await run("get", "dm", "columns")).split("\n");
    expect(header.trim().split(/\s{2,}/)).toEqual([
      "NAME",
      "READY",
      "REASON",
      "SERVING",
      "EPOCH",
      "METRIC",
      "AGE",
    ]);
    expect(
      row
        .trim()
        .split(/\s{2,}/)
        .slice(0, 6),
    ).toEqual(["columns", "Unknown", "Training", "columns-v3", "3/10 30 % 2m", "top1 0.912"]);
  });
});

const progress = {
  epoch: 3,
  epochs: 10,
  step: 30,
  steps: 100,
  percent: 30,
  updatedAt: "2026-01-01T00:00:00Z",
  display: "3/10",
};

describe("an object", () => {
  it.each(["Dataset", "DeepModel"])(
    "%s: nobody has seen it yet when it is created",
    async (kind) => {
      const spec =
        kind === "DeepModel"
          ? photos
          : { source: { pvc: { claimName: "photos" } }, format: "imageFolder" };
      const body = await created({
        ...object(kind, spec, "new"),
        status: { observedGeneration: 7 },
      });
      expect(body.status).toEqual({ observedGeneration: -1 });
      expect(body.spec).toEqual(spec);
    },
  );

  it("has conditions that merge by their type", async () => {
    await created(object("DeepModel", photos, "merged"));
    const condition = (type: string) => ({
      type,
      status: "True",
      reason: "Accepted",
      message: "",
      observedGeneration: 1,
      lastTransitionTime: "2026-01-01T00:00:00Z",
    });
    for (const [manager, type] of [
      ["one", "Ready"],
      ["two", "Accepted"],
    ] as const) {
      const answer = await api.call(
        "PATCH",
        `${objectPath("DeepModel", "merged")}/status?fieldManager=${manager}`,
        {
          apiVersion: API_VERSION,
          kind: "DeepModel",
          metadata: { name: "merged" },
          status: { conditions: [condition(type)] },
        },
        "application/apply-patch+yaml",
      );
      expect(answer.code, answer.message).toBe(200);
    }
    const { body } = await api.call("GET", objectPath("DeepModel", "merged"));
    expect(body).toMatchObject({
      status: { conditions: [{ type: "Ready" }, { type: "Accepted" }] },
    });
  });

  it.each<[string, Record<string, unknown>, string]>([
    ["a percentage above 100", { progress: { ...progress, percent: 101 } }, "progress.percent"],
    [
      "a reason outside the closed set",
      {
        conditions: [
          {
            type: "Ready",
            status: "True",
            reason: "Splendid",
            message: "",
            observedGeneration: 1,
            lastTransitionTime: "2026-01-01T00:00:00Z",
          },
        ],
      },
      "conditions[0].reason",
    ],
  ])("takes no status of %s", async (name, status, field) => {
    const model = object("DeepModel", photos, `strict-${field.length}`);
    await created(model);
    const answer = await merge("DeepModel", model.metadata.name, { status }, "/status");
    expect([answer.code, answer.fields[0]], name).toEqual([422, `status.${field}`]);
  });
});

/** Full specs of a kind that break no rule, together with every leaf. */
const fullSpecs = (kind: string): Record<string, unknown>[] => {
  const full = filled(structuralSchema(named(kind).spec, "pattern"), 1);
  if (kind === "ModelVersion") return [full];
  if (kind === "Dataset") {
    const splits = { seed: 1, ratios: { train: 0.5, validation: 0.25, test: 0.25 } };
    const { http, pvc } = Object(full.source);
    return [{ http }, { pvc: { ...pvc, path: "a/b" } }].map((source) => ({
      ...full,
      format: "videoFolder",
      source,
      splits,
    }));
  }
  const { lrate, per_item_lrate, per_128_lrate, ...hyperparameters } = Object(full.hyperparameters);
  const tolerations = [
    { key: "a", operator: "Exists", effect: "NoExecute", tolerationSeconds: 1 },
    { key: "a", operator: "Equal", value: "b", effect: "NoSchedule" },
  ];
  const { http, modelRef } = Object(full.base);
  const { detection_score_threshold, use_perclass_regression, ...notDetecting } = hyperparameters;
  const detecting = { detection_score_threshold, use_perclass_regression };
  const { embeddings_size, angular_margin, angular_scale, ...notEmbedding } = notDetecting;
  const embedding = { embeddings_size, angular_margin, angular_scale };
  const { logreg: _, label_smoothing, ...others } = notEmbedding;
  return [
    {
      template: "visual-classifier/resnet18",
      base: { name: "none" },
      own: { logreg: false, label_smoothing, lrate },
    },
    {
      template: "visual-detector/ssdlite-efficientnet-lite0",
      base: { http },
      own: { ...detecting, per_item_lrate },
    },
    {
      template: "visual-embedder/arcface-resnet50",
      base: { modelRef },
      own: { ...embedding, per_128_lrate },
    },
  ].map(({ own, ...begun }) => ({
    ...full,
    ...begun,
    templateRevision: 1,
    hyperparameters: {
      ...others,
      ...own,
      batch_size: 32,
      image_size: 256,
      num_epochs: 3,
      init_epochs: 2,
      lrate_schedule: "step",
      test_freq: 3,
    },
    resources: { ...Object(full.resources), cpu: "2", memory: "4Gi" },
    scheduling: { ...Object(full.scheduling), nodeSelector: { pool: "gpu" }, tolerations },
    gates: [
      { metric: "top1", min: 0.5, max: 0.75 },
      { metric: "video_ap", concept: Object(full.concepts)[0], min: 0.5 },
    ],
  }));
};

describe.each(kinds.map((kind) => [kind.kind, kind] as const))(
  "the API server keeps all of a %s",
  (name, kind) => {
    it("spec", async () => {
      const specs = fullSpecs(name);
      for (const [index, spec] of specs.entries()) {
        const body = await created(object(name, spec, `full${index}`));
        expect(body.spec).toEqual(spec);
      }
      const leaves = schemaLeaves(structuralSchema(kind.spec, "pattern"), "spec");
      expect(leaves.filter((leaf) => !specs.some((spec) => hasLeaf({ spec }, leaf)))).toEqual([]);
    });

    it("status", async () => {
      const [spec] = fullSpecs(name);
      await created(object(name, spec, "status"));
      const schema = structuralSchema(kind.status, "pattern");
      const full = filled(schema, 1);
      expect(
        schemaLeaves(schema, "status").filter((leaf) => !hasLeaf({ status: full }, leaf)),
      ).toEqual([]);
      const kept = async (status: unknown) => {
        const { body } = await api.call("GET", objectPath(name, "status"));
        const answer = await api.call(
          "PUT",
          `${objectPath(name, "status")}/status?fieldValidation=Strict`,
          { ...body, status },
        );
        expect(answer.code, answer.message).toBe(200);
        expect(answer.body.status).toEqual(status);
      };
      await kept(full);
      await fc.assert(fc.asyncProperty(arbitraryOf(schema, false), kept), { numRuns: 50, seed: 1 });
    });
  },
);

describe("a ModelVersion", () => {
  it("never changes its spec", async () => {
    const [spec] = fullSpecs("ModelVersion");
    await created(object("ModelVersion", spec, "fixed-v1"));
    const labelled = await merge("ModelVersion", "fixed-v1", { metadata: { labels: { a: "b" } } });
    expect(labelled.code).toBe(200);
    const { code, fields, message } = await merge("ModelVersion", "fixed-v1", {
      spec: { seed: 9 },
    });
    expect([code, fields]).toEqual([422, ["spec"]]);
    expect(message).toContain("the spec of a ModelVersion never changes");
  });
});
