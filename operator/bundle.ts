// Bundles the operator and all that it imports into one file, dist/operator/operator.mjs, beside its Dockerfile:
// that folder is the whole context of the operator's image.

import { copyFile, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";

const root = join(import.meta.dirname, "..");

/** Folder of the bundle; deterministic for equal sources. */
export async function bundleOperator(): Promise<string> {
  const folder = join(root, "dist", "operator");
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  await build({
    entryPoints: [join(root, "operator", "main.ts")],
    outfile: join(folder, "operator.mjs"),
    absWorkingDir: root,
    bundle: true,
    platform: "node",
    target: "node24",
    format: "esm",
    minifySyntax: true,
    legalComments: "none",
    logLevel: "warning",
    // CommonJS dependencies inside an ES module look for `require` and `__dirname`.
    banner: {
      js: [
        'import { createRequire as __createRequire } from "node:module";',
        "const require = __createRequire(import.meta.url);",
        "const __dirname = import.meta.dirname; const __filename = import.meta.filename;",
      ].join("\n"),
    },
  });
  await copyFile(join(root, "operator", "Dockerfile"), join(folder, "Dockerfile"));
  return folder;
}

if (import.meta.main) console.log(await bundleOperator());
