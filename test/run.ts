// `npm test`: every stage in turn, each counted; ends with `N passed, N failed`. A stage that breaks before it can
// count anything counts as one failure, so that a crash never looks like success. `node test/run.ts unit e2e` runs
// only the stages named.

import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";

interface Count {
  passed: number;
  failed: number;
}
interface Stage {
  name: string;
  run: (scratch: string) => Promise<Count>;
}

const root = join(import.meta.dirname, "..");

function execute(command: string, args: string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: root,
      stdio: ["ignore", "inherit", "inherit"],
      env: { ...process.env, CI: "true" },
    });
    child.once("error", reject);
    child.once("close", (code) => resolve(code ?? 1));
  });
}

/** A command that only succeeds or fails: one test. */
const command =
  (program: string, ...args: string[]) =>
  async (): Promise<Count> => {
    const code = await execute(program, args);
    return code === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
  };

const VitestReport = z.object({
  numPassedTests: z.int(),
  numFailedTests: z.int(),
  numFailedTestSuites: z.int(),
  success: z.boolean(),
});

const vitest =
  (project: string) =>
  async (scratch: string): Promise<Count> => {
    const output = join(scratch, `${project}.json`);
    const code = await execute("vitest", [
      "run",
      "--project",
      project,
      "--reporter=default",
      "--reporter=json",
      `--outputFile.json=${output}`,
    ]);
    const report = VitestReport.parse(JSON.parse(await readFile(output, "utf8")));
    const failed =
      code === 0 && report.success ? report.numFailedTests : Math.max(1, report.numFailedTests);
    return { passed: report.numPassedTests, failed };
  };

/** pytest's last line of counts, from its JUnit file. */
async function trainer(scratch: string): Promise<Count> {
  const output = join(scratch, "trainer.xml");
  const code = await execute("bash", ["trainer-image/test.sh", `--junitxml=${output}`]);
  const suite = /<testsuite [^>]*>/.exec(await readFile(output, "utf8"))?.[0] ?? "";
  const attribute = (name: string): number =>
    Number(new RegExp(` ${name}="(\\d+)"`).exec(suite)?.[1] ?? Number.NaN);
  const failed = attribute("failures") + attribute("errors");
  const passed = attribute("tests") - failed - attribute("skipped");
  if (Number.isNaN(passed)) throw new Error("pytest left no counts");
  return { passed, failed: code === 0 ? failed : Math.max(1, failed) };
}

const stages: Stage[] = [
  { name: "types", run: command("tsc", "--noEmit") },
  { name: "lint", run: command("biome", "check") },
  { name: "python-check", run: command("bash", "trainer-image/check.sh") },
  { name: "unit", run: vitest("unit") },
  { name: "trainer", run: trainer },
  { name: "contract", run: vitest("contract") },
  { name: "e2e", run: vitest("e2e") },
];

async function main(names: string[]): Promise<number> {
  const unknown = names.filter((name) => !stages.some((stage) => stage.name === name));
  if (unknown.length > 0) throw new Error(`no such stage: ${unknown.join(", ")}`);
  const chosen = names.length === 0 ? stages : stages.filter(({ name }) => names.includes(name));
  const scratch = await mkdtemp(join(tmpdir(), "deeptrain-test-"));
  const total: Count = { passed: 0, failed: 0 };
  const lines: string[] = [];
  for (const stage of chosen) {
    console.log(`\n=== ${stage.name} ===`);
    const startedAt = Date.now();
    let count: Count;
    try {
      count = await stage.run(scratch);
      if (count.passed + count.failed === 0) throw new Error("the stage ran no test");
    } catch (error) {
      console.error(`${stage.name}: ${error instanceof Error ? error.message : String(error)}`);
      count = { passed: 0, failed: 1 };
    }
    total.passed += count.passed;
    total.failed += count.failed;
    const seconds = Math.round((Date.now() - startedAt) / 1000);
    lines.push(`${stage.name.padEnd(14)} ${count.passed} ok, ${count.failed} not, ${seconds} s`);
  }
  await rm(scratch, { recursive: true, force: true });
  console.log(`\n${lines.join("\n")}\n`);
  console.log(`${total.passed} passed, ${total.failed} failed`);
  return total.failed === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
