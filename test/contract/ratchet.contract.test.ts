// A release that tightens a rule meets objects that an older one let in: they must not be locked.

import { afterAll, beforeAll, expect, it } from "vitest";
import { z } from "zod";
import { customResourceDefinition, kinds } from "../../api/crd.ts";
import { DeepModelSpec } from "../../api/deepmodel.ts";
import { Hyperparameters } from "../../api/hyperparameters.ts";
import { judgeDeepModel } from "../../api/validate.ts";
import { type ControlPlane, startControlPlane } from "../../cluster/controlplane.ts";
import {
  type ApiServer,
  apiServer,
  applyDefinition,
  collection,
  installKinds,
} from "./customresources.ts";
import { object } from "./manifest.ts";

let controlPlane: ControlPlane;
let api: ApiServer;

const found = kinds.find(({ kind }) => kind === "DeepModel");
if (found === undefined) throw new Error("No DeepModel");
const current = customResourceDefinition(found);
/** As an older release might have been: wider ranges, and none of the rules. */
const older = customResourceDefinition({
  ...found,
  rules: [],
  spec: DeepModelSpec.extend({
    hyperparameters: Hyperparameters.extend({
      batch_size: z.int().min(1).max(4096).optional().describe("Images per update."),
    }).optional(),
  }),
});

const spec = (hyperparameters: Record<string, unknown>) => ({
  template: "visual-classifier/efficientnet-lite0",
  datasetRef: { name: "photos" },
  hyperparameters,
});
const stored: [name: string, hyperparameters: Record<string, unknown>, field: string][] = [
  ["late-drop", { init_epochs: 80 }, "init_epochs"],
  ["rare-test", { test_freq: 80 }, "test_freq"],
  ["small-images", { image_size: 32 }, "image_size"],
  ["two-rates", { lrate: 0.1, per_item_lrate: 0.1 }, "per_item_lrate"],
  ["foreign", { detection_score_threshold: 0.5 }, "detection_score_threshold"],
  ["large-batch", { batch_size: 2048 }, "batch_size"],
];

const patch = (name: string, body: unknown) =>
  api.call(
    "PATCH",
    `${collection("DeepModel")}/${name}?fieldValidation=Strict`,
    body,
    "application/merge-patch+json",
  );

beforeAll(async () => {
  controlPlane = await startControlPlane({ name: "contract-ratchet" });
  api = await apiServer(controlPlane.kubeconfig);
  await installKinds(api);
  await applyDefinition(api, older);
  await eventually(async () => {
    const probe = object("DeepModel", spec({ init_epochs: 80, batch_size: 2048 }), "probe");
    return (await api.call("POST", `${collection("DeepModel")}?dryRun=All`, probe)).code === 201;
  });
  for (const [name, hyperparameters] of stored) {
    const answer = await api.call(
      "POST",
      collection("DeepModel"),
      object("DeepModel", spec(hyperparameters), name),
    );
    if (answer.code !== 201) throw new Error(answer.message);
  }
  await applyDefinition(api, current);
  await eventually(async () => {
    const probe = object("DeepModel", spec({ init_epochs: 80 }), "probe");
    return (await api.call("POST", `${collection("DeepModel")}?dryRun=All`, probe)).code === 422;
  });
});
afterAll(() => controlPlane?.stop());

/** A definition takes a moment until it is the one that judges. */
const eventually = async (holds: () => Promise<boolean>): Promise<void> => {
  const deadline = Date.now() + 30_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error("The definition does not take effect");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};

it.each(stored)("%s can be suspended, and mended, and not made worse", async (name, _, field) => {
  const path = `${collection("DeepModel")}/${name}`;
  const { body } = await api.call("GET", path);
  expect(judgeDeepModel(body)[0]?.field).toBe(`spec.hyperparameters.${field}`);

  const suspended = await patch(name, {
    spec: { suspend: true, gates: [{ metric: "top1", min: 0 }] },
  });
  expect(suspended.code, suspended.message).toBe(200);
  const labelled = await patch(name, { metadata: { labels: { a: "b" } } });
  expect(labelled.code, labelled.message).toBe(200);

  const anew = await api.call(
    "POST",
    `${collection("DeepModel")}?dryRun=All`,
    object("DeepModel", body.spec, "anew"),
  );
  expect([anew.code, anew.fields[0]]).toEqual([422, `spec.hyperparameters.${field}`]);

  const mended = await patch(name, { spec: { hyperparameters: { [field]: null } } });
  expect(mended.code, mended.message).toBe(200);
  expect(judgeDeepModel(mended.body)).toEqual([]);
});

it("a stored object is judged again when its hyperparameters change", async () => {
  const answer = await api.call(
    "POST",
    collection("DeepModel"),
    object("DeepModel", spec({ init_epochs: 10 }), "changed"),
  );
  expect(answer.code).toBe(201);
  const { code, fields } = await patch("changed", { spec: { hyperparameters: { num_epochs: 9 } } });
  expect([code, fields[0]]).toEqual([422, "spec.hyperparameters.init_epochs"]);
  const suited = await patch("changed", { spec: { hyperparameters: { image_size: 64 } } });
  expect(suited.code).toBe(200);
});
