import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { type BaseName, catalogueBase, isPretrained } from "../../api/bases.ts";
import { Digest } from "../../api/dataset.ts";
import { Hyperparameters } from "../../api/hyperparameters.ts";
import { inputsHash, type TrainingInputs } from "../../api/inputs.ts";
import { resolveHyperparameters } from "../../api/resolve.ts";
import { TemplateName, templateRevision } from "../../api/templates.ts";

// Every release reproduces this table, or an upgrade trains everybody's models anew. Rows are added, never edited.
const Row = z.strictObject({
  name: z.string(),
  spec: z.strictObject({
    template: TemplateName,
    templateRevision: z.int(),
    hyperparameters: Hyperparameters.optional(),
  }),
  /** Digest of the base's weights. Default: the template's own base. */
  base: z.union([Digest, z.literal("none")]).optional(),
  concepts: z.array(z.string()),
  dataset: z.strictObject({ digest: Digest, splitDigest: Digest }),
  hash: Digest,
});
const rows = z
  .array(Row)
  .parse(JSON.parse(readFileSync(new URL("inputs-hash.json", import.meta.url), "utf8")));

const baseOf = ({ base }: z.infer<typeof Row>, own: BaseName): { digest?: string | undefined } => {
  if (base === undefined) return catalogueBase(own);
  return base === "none" ? catalogueBase(base) : { digest: base };
};

const inputsOf = (row: z.infer<typeof Row>): TrainingInputs => {
  const revision = templateRevision(row.spec.template, row.spec.templateRevision);
  if (revision === undefined) throw new Error(`${row.name}: no such revision`);
  const base = baseOf(row, revision.bases[0]);
  const { effective, seed } = resolveHyperparameters(revision, row.spec.hyperparameters ?? {}, {
    isPretrained: isPretrained(base),
  });
  return {
    template: row.spec.template,
    templateRevision: row.spec.templateRevision,
    hyperparameters: effective,
    seed,
    concepts: row.concepts,
    dataset: row.dataset,
    base,
  };
};

describe("inputs hash", () => {
  it.each(rows.map((row) => [row.name, row] as const))("golden: %s", (_, row) => {
    expect(inputsHash(inputsOf(row))).toBe(row.hash);
  });

  const [first] = rows;
  if (first === undefined) throw new Error("The golden table is empty");
  const inputs = inputsOf(first);
  const other = `sha256:${"f".repeat(64)}`;

  it("changes with everything that is an input", () => {
    const changed: TrainingInputs[] = [
      { ...inputs, template: "visual-classifier/efficientnet-lite0" },
      { ...inputs, templateRevision: 2 },
      ...Object.entries(inputs.hyperparameters).map(([name, value]) => ({
        ...inputs,
        hyperparameters: {
          ...inputs.hyperparameters,
          [name]: typeof value === "number" ? value + 1 : value !== true,
        },
      })),
      { ...inputs, seed: 1 },
      { ...inputs, concepts: [...inputs.concepts].reverse() },
      { ...inputs, dataset: { ...inputs.dataset, digest: other } },
      { ...inputs, dataset: { ...inputs.dataset, splitDigest: other } },
      { ...inputs, base: { digest: other } },
    ];
    const hashes = changed.map(inputsHash);
    expect(new Set([first.hash, ...hashes]).size).toBe(changed.length + 1);
  });

  it("does not change with names, nor with the spelling of the learning rate", () => {
    const named = { ...inputs, dataset: { ...inputs.dataset, name: "photos" }, model: "m" };
    expect(inputsHash(named)).toBe(first.hash);
    const revision = templateRevision("visual-classifier/resnet18", 1);
    if (revision === undefined) throw new Error("no revision");
    const spelled = [{ lrate: 0.05 }, { per_item_lrate: 7.8125e-4 }, { per_128_lrate: 0.1 }, {}];
    const hashes = spelled.map((given) =>
      inputsHash({
        ...inputs,
        hyperparameters: resolveHyperparameters(revision, given, { isPretrained: false }).effective,
      }),
    );
    expect(new Set(hashes)).toEqual(new Set([first.hash]));
  });
});
