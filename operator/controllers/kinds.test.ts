import { describe, expect, test } from "vitest";
import { digestOf, T0, versionSpec } from "../plan/testing/gen.ts";
import type { KubeObject } from "../runtime/object.ts";
import { createCaches } from "./kinds.ts";
import { datasetManifest, modelManifest } from "./testing/scene.ts";

const metadata = (name: string) => ({
  name,
  namespace: "shop",
  uid: `uid-${name}`,
  resourceVersion: "1",
  generation: 1,
  creationTimestamp: T0,
});
const condition = (reason: string) => ({
  type: "Ready",
  status: "True",
  reason,
  message: "so",
  observedGeneration: 1,
  lastTransitionTime: T0,
});

describe("a status that another release wrote", () => {
  const caches = () =>
    createCaches((error) => {
      throw error;
    });

  test("keeps what can be read of it: what is served, and the numbers that were given", () => {
    const { models } = caches();
    const model: KubeObject = {
      ...modelManifest({}),
      metadata: metadata("pets"),
      status: {
        observedGeneration: 1,
        readyVersion: "pets-v3",
        lastVersionNumber: 4,
        wantedHash: 7,
        conditions: [condition("ReasonOfTheFuture")],
        somethingNew: { deep: [1, 2, 3] },
      },
    };
    models.put(model);
    expect(models.problem("shop/pets")).toBeUndefined();
    expect(models.get("shop/pets")?.status).toEqual({
      observedGeneration: 1,
      readyVersion: "pets-v3",
      lastVersionNumber: 4,
    });
  });

  test("of a version: its artifact and its attempts are not forgotten", () => {
    const { versions } = caches();
    const artifact = { path: "shop/models/pets/v1", digest: digestOf("f"), bytes: 1 };
    versions.put({
      apiVersion: "deeptrain.dev/v1alpha1",
      kind: "ModelVersion",
      metadata: metadata("pets-v1"),
      spec: versionSpec(),
      status: { attempt: 3, artifact, conditions: [condition("ReasonOfTheFuture")] },
    });
    expect(versions.get("shop/pets-v1")?.status).toEqual({ attempt: 3, artifact });
  });

  test("of a dataset: its data stay", () => {
    const all = caches();
    all.datasets.put({
      ...datasetManifest,
      metadata: metadata("photos"),
      status: { dataInputsHash: digestOf("d"), import: "none" },
    });
    expect(all.datasets.get("shop/photos")?.status).toEqual({ dataInputsHash: digestOf("d") });
  });

  test("a spec that cannot be read is a problem, and said", () => {
    const { models } = caches();
    models.put({ ...modelManifest({ template: 7 }), metadata: metadata("pets") });
    expect(models.get("shop/pets")).toBeUndefined();
    expect(models.problem("shop/pets")).toContain("spec.template");
  });
});
