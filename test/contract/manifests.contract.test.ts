import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { z } from "zod";
import { DatasetSpec } from "../../api/dataset.ts";
import { DeepModelSpec } from "../../api/deepmodel.ts";
import { structuralSchema } from "../../api/structural.ts";
import { validateDataset, validateDeepModel } from "../../api/validate.ts";
import { type ControlPlane, startControlPlane } from "../../cluster/controlplane.ts";
import { kubectl } from "../../cluster/kubectl.ts";
import { type ApiServer, apiServer, collection, installKinds } from "./customresources.ts";
import { object } from "./manifest.ts";
import { manifestCases } from "./manifests.ts";
import { schemaLeaves } from "./sample.ts";

let controlPlane: ControlPlane;
let api: ApiServer;

beforeAll(async () => {
  controlPlane = await startControlPlane({ name: "contract-manifests" });
  api = await apiServer(controlPlane.kubeconfig);
  await installKinds(api);
});
afterAll(() => controlPlane?.stop());

const rows = manifestCases.map((row) => [row.manifest.kind, row.name, row] as const);
const known = rows.filter(([, , { unknown }]) => unknown !== true);
const unknown = rows.filter(([, , row]) => row.unknown === true);
const strict = "fieldValidation=Strict&dryRun=All";
const applyPatch = "application/apply-patch+yaml";

describe("the API server's verdict", () => {
  it.each(known)("%s: %s", async (kind, _, { manifest, refused }) => {
    const { code, fields, message } = await api.call(
      "POST",
      `${collection(kind)}?${strict}`,
      manifest,
    );
    expect([code, fields[0]], message).toEqual(
      refused === undefined ? [201, undefined] : [422, refused],
    );
  });

  it.each(known)("under server-side apply: %s: %s", async (kind, _, { manifest, refused }) => {
    const { code, fields, message } = await api.call(
      "PATCH",
      `${collection(kind)}/${manifest.metadata.name}?${strict}&fieldManager=test`,
      manifest,
      applyPatch,
    );
    // A value of a wrong type never becomes a typed patch: the answer has no causes then.
    if (refused !== undefined && code === 500) {
      // Of a set, not the item that is there twice is named, but the set.
      const field = refused.replace(/^spec/, ".spec");
      const named = message.includes("duplicate entries") ? field.replace(/\[\d+\]$/, "") : field;
      expect(message).toContain(named);
      return;
    }
    expect([code, fields[0]], message).toEqual(
      refused === undefined ? [201, undefined] : [422, refused],
    );
  });
});

describe("an unknown field", () => {
  it.each(unknown)("is 400 for a strict client: %s: %s", async (kind, _, { manifest, refused }) => {
    const { code, message } = await api.call("POST", `${collection(kind)}?${strict}`, manifest);
    expect([code, message]).toEqual([400, expect.stringContaining(`unknown field "${refused}"`)]);
  });

  it.each(unknown)("is 500 under server-side apply: %s: %s", async (kind, _, row) => {
    const { code, message } = await api.call(
      "PATCH",
      `${collection(kind)}/it?${strict}&fieldManager=test`,
      row.manifest,
      applyPatch,
    );
    expect([code, message]).toEqual([500, expect.stringContaining(`.${row.refused}`)]);
  });

  it.each(unknown)("is refused by kubectl apply: %s: %s", async (_, __, { manifest, refused }) => {
    await expect(
      kubectl(controlPlane.kubeconfig, ["apply", "-f", "-"], JSON.stringify(manifest)),
    ).rejects.toThrow(`unknown field "${refused}"`);
  });
});

describe("a manifest that nobody thought of", () => {
  /** Values on both sides of every bound, of every type that a field may be given. */
  const value = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.constantFrom(
        0,
        1,
        2,
        31,
        32,
        33,
        48,
        64,
        65,
        66,
        100,
        224,
        256,
        257,
        1000,
        1001,
        1024,
      ),
    },
    { weight: 2, arbitrary: fc.constantFrom(-1, 0.1, 0.5, 1.5, 1e-9, 2 ** 31 - 1, 2 ** 31, 1e12) },
    {
      weight: 1,
      arbitrary: fc.constantFrom("", "1", "a b", "500m", "4Gi", "top1", "Exists", true, false),
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        "photos",
        "coco",
        "csv",
        "auto",
        "videoFolder",
        "none",
        "efficientnet-lite0",
      ),
    },
    { weight: 1, arbitrary: fc.constantFrom([], {}, ["a"], [""]) },
  );
  type Fields = Record<string, unknown>;
  const isFields = (candidate: unknown): candidate is Fields =>
    typeof candidate === "object" && candidate !== null && !Array.isArray(candidate);
  const changed = (spec: unknown, [step = "", ...rest]: string[], to: unknown): Fields => {
    const fields = isFields(spec) ? spec : {};
    return { ...fields, [step]: rest.length === 0 ? to : changed(fields[step], rest, to) };
  };
  /** An accepted manifest of the table, some of whose fields are given another value. */
  const mutated = (kind: string, schema: z.ZodType) => {
    const paths = schemaLeaves(structuralSchema(schema, "pattern"), "")
      .filter((path) => !/[[*]/.test(path))
      .map((path) => path.slice(1).split("."));
    const accepted = manifestCases.filter(
      ({ manifest, refused }) => manifest.kind === kind && refused === undefined,
    );
    return fc
      .tuple(
        fc.constantFrom(...accepted),
        fc.array(fc.tuple(fc.constantFrom(...paths), value), { minLength: 1, maxLength: 2 }),
      )
      .map(([{ manifest }, changes]) =>
        changes.reduce((spec, [path, to]) => changed(spec, path, to), manifest.spec),
      );
  };

  it.each([
    ["DeepModel", mutated("DeepModel", DeepModelSpec), validateDeepModel] as const,
    ["Dataset", mutated("Dataset", DatasetSpec), validateDataset] as const,
  ])("%s: zod and the API server agree", async (kind, specs, validate) => {
    const seen = { accepted: 0, refused: 0 };
    await fc.assert(
      fc.asyncProperty(specs, async (spec) => {
        const manifest = object(kind, spec);
        const problems = validate(manifest);
        const answer = await api.call("POST", `${collection(kind)}?${strict}`, manifest);
        expect(answer.code, answer.message).toBe(problems.length === 0 ? 201 : 422);
        const [first] = problems;
        if (first !== undefined) expect(answer.fields, first.message).toContain(first.field);
        seen[first === undefined ? "accepted" : "refused"] += 1;
      }),
      { numRuns: 1_000, seed: 7 },
    );
    // Both verdicts were met, or the property says nothing.
    expect(Math.min(seen.accepted, seen.refused)).toBeGreaterThan(50);
  });
});
