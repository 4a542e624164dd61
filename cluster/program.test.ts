import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  endLeftovers,
  endProgram,
  logTail,
  processesOf,
  runningProgram,
  startProgram,
} from "./program.ts";
import { waitUntil } from "./wait.ts";

let folder = "";

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "deeptrain-program-"));
});

afterEach(async () => {
  await endLeftovers(folder);
  await rm(folder, { recursive: true });
});

const sleeper = (name: string) => ({ name, argv: ["sleep", "60"], folder, daemon: false });

test("a program is found by its name until it ends", async () => {
  const pid = await startProgram(sleeper("one"));
  expect(await runningProgram(folder, "one")).toBe(pid);
  expect(await runningProgram(folder, "two")).toBeUndefined();
  await endProgram(folder, "one");
  expect(await runningProgram(folder, "one")).toBeUndefined();
});

test("a pid that somebody else has by now is not taken for the program", async () => {
  const bootId = "another boot";
  await startProgram(sleeper("other"));
  await writeFile(
    join(folder, "run", "one.json"),
    JSON.stringify({ pid: process.pid, bootId, startTime: "1" }),
  );
  expect(await runningProgram(folder, "one")).toBeUndefined();
  await endProgram(folder, "one"); // must not end this test
  expect(await runningProgram(folder, "other")).toBeDefined();
});

test("a torn pid file is no program", async () => {
  await startProgram(sleeper("other"));
  await writeFile(join(folder, "run", "one.json"), '{"pid":1');
  expect(await runningProgram(folder, "one")).toBeUndefined();
});

test("a program that ignores SIGTERM is killed after its grace", async () => {
  const argv = ["sh", "-c", "trap '' TERM; echo deaf; sleep 60 & wait; wait"];
  await startProgram({ name: "deaf", argv, folder, daemon: false });
  await waitUntil(async () => (await logTail(folder, "deaf")) === "deaf", {
    what: "the trap",
    timeoutMs: 5000,
  });
  await endProgram(folder, "deaf", "SIGTERM", 50);
  expect(await runningProgram(folder, "deaf")).toBeUndefined();
});

test("leftovers are found without any pid file", async () => {
  await startProgram({ ...sleeper("one"), argv: ["sh", "-c", "sleep 61 & sleep 62 & wait"] });
  await waitUntil(async () => (await processesOf(folder)).length === 3, {
    what: "the children",
    timeoutMs: 5000,
  });
  await rm(join(folder, "run"), { recursive: true });
  await endLeftovers(folder);
  expect(await processesOf(folder)).toEqual([]);
});

test("a program that cannot be started says so", async () => {
  await expect(
    startProgram({ name: "none", argv: ["/nonexistent"], folder, daemon: true }),
  ).rejects.toThrow("ENOENT");
});
