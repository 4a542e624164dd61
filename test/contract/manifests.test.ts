import { expect, it } from "vitest";
import { validateDataset, validateDeepModel } from "../../api/validate.ts";
import { manifestCases } from "./manifests.ts";

it.each(manifestCases.map((row) => [row.manifest.kind, row.name, row] as const))(
  "zod: %s: %s",
  (kind, _, { manifest, refused }) => {
    const validate = kind === "Dataset" ? validateDataset : validateDeepModel;
    // As it comes from YAML or JSON: without keys that hold nothing.
    const [first] = validate(JSON.parse(JSON.stringify(manifest)));
    expect(first?.field).toBe(refused);
    if (refused !== undefined) expect(first?.message).not.toBe("");
  },
);

it("names its rows apart", () => {
  expect(new Set(manifestCases.map(({ name }) => name)).size).toBe(manifestCases.length);
});
