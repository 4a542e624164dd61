import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";

const run = promisify(execFile);
let folder = "";

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "deeptrain-cli-"));
});

afterEach(() => rm(folder, { recursive: true }));

/** Runs the command line as if on that system and as that user, with nothing of this machine's clusters in sight. */
async function cli(machine: { platform: string; uid: number }, ...args: string[]) {
  const preload = join(folder, "machine.mjs");
  const script = `
    import fs from "node:fs";
    import { syncBuiltinESMExports } from "node:module";
    Object.defineProperty(process, "platform", { value: "${machine.platform}" });
    process.getuid = () => ${machine.uid};
    const existsSync = fs.existsSync;
    fs.existsSync = (path) =>
      String(path).startsWith("/var/lib/deeptrain/") ? path.endsWith("/roots") : existsSync(path);
    syncBuiltinESMExports();`;
  await writeFile(preload, script);
  const argv = ["--import", preload, join(import.meta.dirname, "cli.ts"), ...args];
  const env = { ...process.env, XDG_STATE_HOME: folder };
  const result = await run(process.execPath, argv, { env }).catch(
    (error: { code: number; stdout: string; stderr: string }) => error,
  );
  return {
    code: "code" in result ? result.code : 0,
    out: result.stdout,
    lines: result.stderr.trim().split("\n"),
  };
}

const linuxUser = { platform: "linux", uid: 1000 };

test.each(["up", "down", "kubeconfig", "status"])(
  "%s on a Mac says that it needs Linux",
  async (command) => {
    expect(await cli({ platform: "darwin", uid: 501 }, command)).toEqual({
      code: 1,
      out: "",
      lines: ["the one-machine cluster: needs Linux, this is darwin"],
    });
  },
);

test("up without root says so", async () => {
  const { code, lines } = await cli(linuxUser, "up");
  expect([code, lines]).toEqual([
    1,
    ["a node: needs root (namespaces, mounts, cgroups); run it with sudo"],
  ]);
});

test.each(["down", "kubeconfig"])(
  "%s of root's cluster by another user is refused",
  async (command) => {
    expect(await cli(linuxUser, command, "--name", "roots")).toEqual({
      code: 1,
      out: "",
      lines: ["cluster roots is root's: run this with sudo"],
    });
  },
);

test("a cluster that is not there has no kubeconfig, and nothing to remove", async () => {
  expect(await cli(linuxUser, "kubeconfig", "--name", "none")).toEqual({
    code: 1,
    out: "",
    lines: ['there is no cluster none: start it with "npm run cluster:up"'],
  });
  const { code, lines } = await cli(linuxUser, "down", "--name", "none");
  expect([code, lines]).toEqual([0, ["there is no cluster none"]]);
});
