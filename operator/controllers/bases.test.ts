// A model that begins with another one is looked at when that one changes, and whatever they are seen in.

import { afterEach, beforeEach, expect, test } from "vitest";
import { DeepModel } from "../../api/deepmodel.ts";
import { ModelVersion } from "../../api/modelversion.ts";
import { condition } from "../plan/conditions.ts";
import { eventually } from "../runtime/testing/eventually.ts";
import { datasets, deepModels, jobs, modelVersions } from "./kinds.ts";
import { datasetManifest, modelManifest, Scene, settled } from "./testing/scene.ts";

let scene: Scene;

beforeEach(async () => {
  scene = await Scene.open();
  await scene.begin();
});
afterEach(() => scene.close());

const head = { template: "context-based-classifier/linear", hyperparameters: {} };

/** Merged into what is there. */
const apply = (name: string, spec: object) => {
  const manifest = modelManifest(spec);
  scene.server.put(deepModels, { ...manifest, metadata: { ...manifest.metadata, name } });
};
const on = (name: string, version?: number) => ({
  base: { modelRef: { name, ...(version === undefined ? {} : { version }) } },
});
const reason = (name: string): string | undefined => {
  const model = DeepModel.parse(scene.server.get(deepModels, `shop/${name}`));
  return condition(model.status, "Ready")?.reason;
};
const until = (name: string, wanted: string) => eventually(() => reason(name) === wanted, 45_000);

test("waits for the model, then for its training, and is trained on its version", async () => {
  scene.server.put(datasets, datasetManifest);
  apply("pets", { ...head, ...on("backbone") });
  await until("pets", "BaseNotFound");
  apply("backbone", { suspend: true });
  await until("pets", "BaseNotReady");
  apply("backbone", { suspend: false });
  await until("pets", "Trained");
  const { spec } = ModelVersion.parse(scene.server.get(modelVersions, "shop/pets-v1"));
  const base = ModelVersion.parse(scene.server.get(modelVersions, "shop/backbone-v1"));
  expect(spec.base).toMatchObject({
    id: "model",
    digest: base.status?.artifact?.digest,
    model: { name: "backbone", number: 1, path: base.status?.artifact?.path },
  });
  await settled(scene.server);
});

test("a named version is waited for until it is trained", async () => {
  scene.server.put(datasets, datasetManifest);
  apply("pets", { ...head, ...on("backbone", 1) });
  await until("pets", "BaseNotFound");
  apply("backbone", {});
  await until("pets", "Trained");
});

test("a circle that is closed far away is told to all in it, and opened again", async () => {
  apply("pets", on("second"));
  apply("second", on("third"));
  apply("third", {});
  await until("pets", "DatasetNotFound");
  apply("third", on("pets"));
  for (const name of ["pets", "second", "third"]) await until(name, "BaseCycle");
  expect(scene.server.all(jobs)).toEqual([]);
  apply("third", { base: null });
  for (const name of ["pets", "second", "third"]) await until(name, "DatasetNotFound");
  scene.server.put(datasets, datasetManifest);
  for (const name of ["third", "second", "pets"]) await until(name, "Trained");
});
