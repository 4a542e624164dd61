// What people start from is accepted as it stands.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { z } from "zod";
import { validateDataset, validateDeepModel } from "../api/validate.ts";

const folder = join(import.meta.dirname, "..", "examples");
const Kind = z.looseObject({ kind: z.enum(["Dataset", "DeepModel"]) });

const manifests = readdirSync(folder, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".yaml") && !name.endsWith("kustomization.yaml"))
  .flatMap((name) =>
    parseAllDocuments(readFileSync(join(folder, name), "utf8")).map(
      (document, number): [string, unknown] => [`${name}, document ${number}`, document.toJS()],
    ),
  );

test.each(manifests)("%s is accepted", (_, manifest) => {
  const { kind } = Kind.parse(manifest);
  const validate = kind === "Dataset" ? validateDataset : validateDeepModel;
  expect(validate(manifest)).toEqual([]);
});
