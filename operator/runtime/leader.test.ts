// Two real processes, one of which is stopped and wakes up when the other leads.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { leases } from "./lease.ts";
import { FakeApiServer } from "./testing/apiserver.ts";
import { eventually } from "./testing/eventually.ts";
import { configMaps } from "./testing/kinds.ts";

let server: FakeApiServer;
let processes: ChildProcess[];

beforeEach(async () => {
  server = await FakeApiServer.start([
    { resource: leases, hasStatus: false },
    { resource: configMaps, hasStatus: false },
  ]);
  server.put(leases, { metadata: { namespace: "system", name: "operator" }, spec: {} });
  processes = [];
});
afterEach(async () => {
  for (const child of processes) child.kill("SIGKILL");
  await server.stop();
});

const lead = (identity: string): ChildProcess => {
  const program = join(import.meta.dirname, "testing", "leader.ts");
  const child = spawn(process.execPath, [program, server.url, identity], { stdio: "inherit" });
  processes.push(child);
  return child;
};
const writesBy = (identity: string) =>
  server.writes.filter(({ key }) => key === `test/by-${identity}`).length;

it("a leader that was paused writes nothing when it wakes up and another leads, and ends", async () => {
  const one = lead("one");
  const ended = once(one, "exit");
  await eventually(() => writesBy("one") > 5, 15_000);
  one.kill("SIGSTOP");
  lead("two");
  await eventually(() => writesBy("two") > 5, 15_000);
  const before = writesBy("one");
  one.kill("SIGCONT");
  const [code] = await ended;
  expect(code).toBe(17);
  // One write may have been under way when it was stopped: sent while it still led.
  expect(writesBy("one") - before).toBeLessThanOrEqual(1);
  const held = server.get(leases, "system/operator");
  expect(held?.spec).toMatchObject({ holderIdentity: "two" });
  const now = writesBy("two");
  await eventually(() => writesBy("two") > now + 5);
});
