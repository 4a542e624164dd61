import { readdirSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { generatedFiles } from "./generate.ts";

const root = new URL("../", import.meta.url);

it.each([...generatedFiles()])("%s is what `node api/generate.ts` writes", (path, text) => {
  expect(readFileSync(new URL(path, root), "utf8")).toBe(text);
});

it("nothing else lies beside the generated files", () => {
  for (const folder of ["crds/", "docs/reference/", "trainer-image/deeptrain_trainer/schema/"]) {
    const generated = [...generatedFiles().keys()].filter((path) => path.startsWith(folder));
    const found = readdirSync(new URL(folder, root)).map((name) => `${folder}${name}`);
    expect(found.filter((path) => !path.endsWith(".py") && !path.includes("__")).sort()).toEqual(
      generated.sort(),
    );
  }
});
