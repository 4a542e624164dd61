import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Lease, type LeaseOptions, leases, microTime, processIdentity } from "./lease.ts";
import { FakeApiServer } from "./testing/apiserver.ts";
import { eventually } from "./testing/eventually.ts";

const name = { namespace: "system", name: "operator" };
const key = "system/operator";
const times = { durationMs: 700, deadlineMs: 450, renewMs: 60 };
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe("a lease", () => {
  let server: FakeApiServer;
  let lost: string[];
  let waits: string[];
  let open: Lease[];

  const candidate = async (identity: string, options: Partial<LeaseOptions> = {}) => {
    const lease = new Lease({
      client: await server.client(),
      name,
      identity,
      ...times,
      onLost: (why) => lost.push(`${identity}: ${why}`),
      onWaiting: (why) => waits.push(why),
      ...options,
    });
    open.push(lease);
    return lease;
  };
  const spec = () => server.get(leases, key)?.spec;
  const manifest = (holder?: string, seconds = 1) => ({
    metadata: { ...name },
    spec: holder === undefined ? {} : { holderIdentity: holder, leaseDurationSeconds: seconds },
  });

  beforeEach(async () => {
    server = await FakeApiServer.start([{ resource: leases, hasStatus: false }]);
    [lost, waits, open] = [[], [], []];
  });
  afterEach(async () => {
    server.faults.clear();
    server.faults.revive();
    await Promise.all(open.map((lease) => lease.release()));
    await server.stop();
  });

  it("is taken at once where it is empty, and kept by renewals", async () => {
    server.put(leases, manifest());
    const lease = await candidate("one");
    expect(lease.isHeld()).toBe(false);
    const startedAt = performance.now();
    await lease.acquire();
    expect(performance.now() - startedAt).toBeLessThan(300);
    await pause(700);
    expect(lease.isHeld()).toBe(true);
    expect(spec()).toMatchObject({ holderIdentity: "one" });
    expect(server.writes.length).toBeGreaterThan(5);
  });

  it("writes times with six digits after the seconds", () => {
    expect(microTime(new Date(0))).toBe("1970-01-01T00:00:00.000000Z");
  });

  it("names processes apart", () => {
    expect(processIdentity()).toContain(`_${process.pid}_`);
  });

  it("waits for a holder that renews, and takes over from one that stopped", async () => {
    server.put(leases, manifest());
    const one = await candidate("one");
    await one.acquire();
    const two = await candidate("two");
    const acquired = two.acquire();
    await pause(900);
    expect(two.isHeld()).toBe(false);
    expect(waits).toContain("held by one");
    server.faults.add(({ verb, call }) =>
      verb === "update" && call > 0 && one.isHeld() ? { drop: true } : undefined,
    );
    await eventually(() => lost.length === 1);
    expect(one.isHeld()).toBe(false);
    server.faults.clear();
    await acquired;
    expect(two.isHeld()).toBe(true);
    expect(spec()).toMatchObject({ holderIdentity: "two", leaseTransitions: 2 });
  });

  it("passes on at once when it is released", async () => {
    server.put(leases, manifest());
    const one = await candidate("one");
    await one.acquire();
    await one.release();
    expect(one.isHeld()).toBe(false);
    const two = await candidate("two");
    const startedAt = performance.now();
    await two.acquire();
    expect(performance.now() - startedAt).toBeLessThan(300);
    expect(lost).toEqual([]);
  });

  it("is never held by two: the old holder stops before the new one begins", async () => {
    server.put(leases, manifest());
    const one = await candidate("one");
    await one.acquire();
    const two = await candidate("two");
    const acquired = two.acquire();
    let both = 0;
    const look = setInterval(() => {
      if (one.isHeld() && two.isHeld()) both += 1;
    }, 2);
    // Answers to the first holder are lost: it cannot know whether it renewed.
    server.faults.add(({ verb }) =>
      verb === "update" && one.isHeld() ? { drop: true } : undefined,
    );
    await acquired;
    clearInterval(look);
    expect(both).toBe(0);
    expect(lost).toEqual(["one: it could not be renewed in time"]);
  });

  it("knows at once after a pause that its time is over, before any timer runs", async () => {
    server.put(leases, manifest());
    const one = await candidate("one");
    await one.acquire();
    const until = performance.now() + times.deadlineMs + 50;
    while (performance.now() < until);
    expect(one.isHeld()).toBe(false);
  });

  it("does not count on wall clocks: a holder's clock an hour off changes nothing", async () => {
    server.put(leases, manifest());
    const one = await candidate("one");
    await one.acquire();
    const past = microTime(new Date(Date.now() - 3_600_000));
    server.put(leases, { ...manifest("one", 1), spec: { renewTime: past, acquireTime: past } });
    const two = await candidate("two");
    void two.acquire();
    await pause(500);
    expect(two.isHeld()).toBe(false);
    expect(one.isHeld()).toBe(true);
    await two.release();
  });

  it.each([3_600_000, -3_600_000])(
    "does not care when the clock jumps by %i ms",
    async (jumpMs) => {
      server.put(leases, manifest());
      const one = await candidate("one");
      await one.acquire();
      const two = await candidate("two");
      void two.acquire();
      vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + jumpMs });
      try {
        await pause(900);
      } finally {
        vi.useRealTimers();
      }
      expect(one.isHeld()).toBe(true);
      expect(two.isHeld()).toBe(false);
      expect(lost).toEqual([]);
    },
  );

  it("is lost when somebody else is written into it by hand", async () => {
    server.put(leases, manifest());
    const one = await candidate("one");
    await one.acquire();
    server.put(leases, manifest("intruder"));
    await eventually(() => lost.length === 1);
    expect(lost).toEqual(["one: the Lease is held by intruder"]);
    expect(one.isHeld()).toBe(false);
    expect(spec()).toMatchObject({ holderIdentity: "intruder" });
  });

  it("survives an edit that leaves its holder", async () => {
    server.put(leases, manifest());
    const one = await candidate("one");
    await one.acquire();
    server.put(leases, { metadata: { ...name, labels: { edited: "yes" } } });
    await pause(600);
    expect(one.isHeld()).toBe(true);
    expect(lost).toEqual([]);
  });

  it("is lost when it is deleted by hand, and the next holder waits until that is sure", async () => {
    server.put(leases, manifest());
    const one = await candidate("one");
    await one.acquire();
    const two = await candidate("two");
    let both = 0;
    const look = setInterval(() => {
      if (one.isHeld() && two.isHeld()) both += 1;
    }, 2);
    server.faults.add(({ verb }) =>
      verb === "update" && one.isHeld() ? { drop: true } : undefined,
    );
    server.remove(leases, key);
    const startedAt = performance.now();
    await two.acquire();
    clearInterval(look);
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(times.deadlineMs);
    expect(both).toBe(0);
    expect(one.isHeld()).toBe(false);
    expect(lost).toHaveLength(1);
  });

  it("gives a holder that was wiped out by hand its time", async () => {
    server.put(leases, manifest("", 15));
    const two = await candidate("two");
    const startedAt = performance.now();
    const acquired = two.acquire();
    await pause(300);
    expect(two.isHeld()).toBe(false);
    server.put(leases, {
      ...manifest(),
      spec: { leaseDurationSeconds: null, holderIdentity: null },
    });
    await acquired;
    expect(performance.now() - startedAt).toBeGreaterThan(300);
  });

  it("goes to one of two that ask at the same moment", async () => {
    server.put(leases, manifest());
    const both = [await candidate("one"), await candidate("two")];
    for (const lease of both) void lease.acquire();
    await eventually(() => both.some((lease) => lease.isHeld()));
    await pause(500);
    expect(both.filter((lease) => lease.isHeld())).toHaveLength(1);
  });

  it("is waited for while the API server is down", async () => {
    server.put(leases, manifest());
    server.faults.add(() => ({ drop: true }));
    const one = await candidate("one");
    const acquired = one.acquire();
    await eventually(() => waits.length > 0);
    server.faults.clear();
    await acquired;
    expect(one.isHeld()).toBe(true);
  });

  it("stops waiting when it is released before it was held", async () => {
    server.put(leases, manifest("another", 15));
    const one = await candidate("one");
    const acquired = one.acquire();
    await pause(50);
    await one.release();
    await acquired;
    expect(one.isHeld()).toBe(false);
    expect(spec()).toMatchObject({ holderIdentity: "another" });
  });
});
