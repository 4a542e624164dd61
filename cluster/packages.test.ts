import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { withoutServices } from "./packages.ts";

const run = promisify(execFile);
let folder = "";
let policy = "";

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "deeptrain-packages-"));
  policy = join(folder, "policy-rc.d");
});

afterEach(() => rm(folder, { recursive: true }));

test("no service starts meanwhile, and afterwards nothing is left", async () => {
  await withoutServices(async () => {
    await expect(run(policy, [])).rejects.toMatchObject({ code: 101 });
  }, policy);
  expect(existsSync(policy)).toBe(false);
  await expect(
    withoutServices(() => Promise.reject(new Error("apt failed")), policy),
  ).rejects.toThrow("apt failed");
  expect(existsSync(policy)).toBe(false);
});

test("somebody else's policy is left as it is", async () => {
  await writeFile(policy, "#!/bin/sh\nexit 0\n");
  await withoutServices(async () => {}, policy);
  expect(await readFile(policy, "utf8")).toBe("#!/bin/sh\nexit 0\n");
});

test.each([
  // Ctrl-C.
  ["SIGINT", false],
  // What nobody can clean up after, the next run does.
  ["SIGKILL", true],
] as const)("after %s it is left: %s; the next run removes it", async (signal, isLeft) => {
  const script = `
    const { withoutServices } = await import(${JSON.stringify(join(import.meta.dirname, "packages.ts"))});
    await withoutServices(async () => {
      process.kill(process.pid, "${signal}");
      await new Promise((resolve) => setTimeout(resolve, 10_000));
    }, ${JSON.stringify(policy)});`;
  await expect(run(process.execPath, ["--input-type=module", "-e", script])).rejects.toMatchObject({
    signal,
  });
  expect(existsSync(policy)).toBe(isLeft);
  await withoutServices(async () => {}, policy);
  expect(existsSync(policy)).toBe(false);
});
