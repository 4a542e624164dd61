import { execFile } from "node:child_process";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";

const run = promisify(execFile);
let folder = "";

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "deeptrain-venv-"));
});

afterEach(() => rm(folder, { recursive: true }));

async function fake(name: string, script: string): Promise<void> {
  await writeFile(join(folder, name), `#!/bin/sh\n${script}\n`);
  await chmod(join(folder, name), 0o755);
}

/** Runs venv.sh with a Python that has no venv until `apt-get` brings it, and no uv. */
async function makeVenv(user: string): Promise<{ calls: string; said: string }> {
  await fake("id", `echo ${user}`);
  await fake("uv", "exit 1");
  await fake("apt-get", `echo "apt-get $*" >> ${folder}/calls; : > ${folder}/installed`);
  await fake(
    "python3",
    `case "$*" in
  *ensurepip*) [ -e ${folder}/installed ] ;;
  *version_info*) echo "(3, 11)" ;;
  *) echo "python3 $1 $2" >> ${folder}/calls; exit 3 ;;
esac`,
  );
  const env = {
    PATH: `${folder}:/usr/bin:/bin`,
    HOME: folder,
    DEEPTRAIN_CACHE: join(folder, "cache"),
  };
  const said = await run("bash", [join(import.meta.dirname, "venv.sh")], { env }).then(
    () => "",
    (error: { stderr: string }) => error.stderr,
  );
  return { calls: await readFile(join(folder, "calls"), "utf8").catch(() => ""), said };
}

test("a Python without venv gets it from Debian before the first use", async () => {
  const { calls } = await makeVenv("0");
  expect(calls).toMatch(/^apt-get update -qq\napt-get install .* python3-venv\npython3 -m venv\n$/);
});

test("who may not install it is told what to install", async () => {
  const { calls, said } = await makeVenv("1000");
  expect(calls).toBe("");
  expect(said).toContain("python3 has no venv: install python3-venv (or uv)\n");
});
