import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { coreDnsArgs } from "./coredns.ts";
import { network } from "./network.ts";
import { runningProgram, startProgram } from "./program.ts";

let folder = "";

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "deeptrain-dns-"));
});

afterEach(() => rm(folder, { recursive: true }));

async function corefile(hasEgress: boolean): Promise<string> {
  await coreDnsArgs(folder, network(130), "/kubeconfig", hasEgress);
  return readFile(join(folder, "Corefile"), "utf8");
}

test("names of elsewhere go to this machine's resolvers where there is a way out, and do not exist where there is none", async () => {
  const open = await corefile(true);
  expect(open).toContain("forward . 10.130.254.3\n");
  expect(open).not.toContain("NXDOMAIN");
  const closed = await corefile(false);
  expect(closed).toContain("NXDOMAIN");
  expect(closed).not.toContain("forward");
});

test("a server that runs is ended when its configuration changes, and only then", async () => {
  await corefile(false);
  await startProgram({ name: "coredns", argv: ["sleep", "60"], folder, daemon: true });
  await corefile(false);
  expect(await runningProgram(folder, "coredns")).toBeDefined();
  await corefile(true);
  expect(await runningProgram(folder, "coredns")).toBeUndefined();
});
