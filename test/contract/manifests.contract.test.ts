import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ControlPlane, startControlPlane } from "../../cluster/controlplane.ts";
import { kubectl } from "../../cluster/kubectl.ts";
import { type ApiServer, apiServer, collection, installKinds } from "./customresources.ts";
import { manifestCases } from "./manifests.ts";

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
      expect(message).toContain(refused.replace(/^spec/, ".spec"));
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
