// The direction of imports, and the purity of the contract and the plans, as biome.json holds them: what must be refused is
// written into a copy of the layout, and biome says what it thinks of it.

import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";

const root = join(import.meta.dirname, "..", "..");

const imports = (...modules: string[]) =>
  modules.map((module) => `import * as x from "${module}";\nexport const y = x;\n`);

const impure = [
  ...imports("pino", "undici", "yaml", "node:os", "node:fs", "node:fs/promises", "node:process"),
  ...imports("@kubernetes/client-node", "node:timers/promises", "node:http"),
  "export const y = Date.now();\n",
  "export const y = new Date();\n",
  "export const y = performance.now();\n",
  "export const y = Math.random();\n",
  "export const y = process.env;\n",
  "export const y = globalThis;\n",
  "export const y = fetch;\n",
  "export const y = () => setTimeout(() => {}, 1);\n",
  "export const y = () => import('node:os');\n",
];

const refused: Record<string, string[]> = {
  "api/": [...impure, ...imports("../operator/plan/plan.ts", "../demo/photos.ts")],
  "operator/plan/": [
    ...impure,
    ...imports("../../demo/photos.ts", "../runtime/client.ts", "../controllers/start.ts"),
    ...imports("../progress/endpoint.ts", "../settings.ts", "../../cluster/wait.ts"),
  ],
  "operator/runtime/": imports("../../api/group.ts", "../plan/plan.ts", "../controllers/start.ts"),
};

const allowed: Record<string, string[]> = {
  "api/": [
    ...imports("zod", "node:crypto", "./group.ts"),
    "export const y = Date.parse('2026-01-01');\n",
  ],
  "operator/plan/": [
    ...imports("zod", "./plan.ts", "../../api/group.ts"),
    "export const y = new Date(0).toISOString();\n",
  ],
  "operator/runtime/": imports("pino", "undici", "node:os", "./client.ts"),
};

const Report = z.object({
  diagnostics: z.array(
    z.object({ severity: z.string(), location: z.object({ path: z.string() }) }),
  ),
});

let folder = "";
let judged = new Set<string>();

const fileOf = (part: string, code: string, sources: string[]) =>
  `${part}case${sources.indexOf(code)}.ts`;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "deeptrain-lint-"));
  const config: unknown = JSON.parse(readFileSync(join(root, "biome.json"), "utf8"));
  writeFileSync(
    join(folder, "biome.json"),
    JSON.stringify({ ...z.record(z.string(), z.unknown()).parse(config), vcs: { enabled: false } }),
  );
  cpSync(join(root, "test/lint/pure.grit"), join(folder, "test/lint/pure.grit"));
  for (const [kind, parts] of Object.entries({ refused, allowed })) {
    for (const [part, sources] of Object.entries(parts)) {
      for (const code of sources) {
        const path = join(folder, fileOf(`${part}${kind}`, code, sources));
        mkdirSync(dirname(path), { recursive: true });
        writeFileSync(path, code);
      }
    }
  }
  judged = errors();
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The files in which biome finds an error. */
function errors(): Set<string> {
  const biome = join(root, "node_modules/.bin/biome");
  const args = ["lint", "--reporter=json", "--max-diagnostics=none", "."];
  let output: string;
  try {
    output = execFileSync(biome, args, { cwd: folder, encoding: "utf8", stdio: "pipe" });
  } catch (error) {
    output = z.object({ stdout: z.string() }).parse(error).stdout;
  }
  const { diagnostics } = Report.parse(JSON.parse(output));
  return new Set(
    diagnostics.filter(({ severity }) => severity === "error").map(({ location }) => location.path),
  );
}

const rows = (parts: Record<string, string[]>) =>
  Object.entries(parts).flatMap(([part, sources]) =>
    sources.map((code) => ({ part, code, sources })),
  );

test.each(rows(refused))("in $part refused: $code", ({ part, code, sources }) => {
  expect(judged).toContain(fileOf(`${part}refused`, code, sources));
});

test.each(rows(allowed))("in $part allowed: $code", ({ part, code, sources }) => {
  expect(judged).not.toContain(fileOf(`${part}allowed`, code, sources));
});
