import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { WorkQueue } from "./queue.ts";

describe("a work queue", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  const fixed = { retry: { minMs: 100, maxMs: 1_000 }, random: () => 1 };
  const taken = async (queue: WorkQueue): Promise<string[]> => {
    const keys: string[] = [];
    while (queue.depth > 0) {
      const key = await queue.take();
      if (key === undefined) break;
      keys.push(key);
      queue.done(key);
    }
    return keys;
  };

  it("gives keys in the order they came, each once however often it was added", async () => {
    const queue = new WorkQueue();
    for (const key of ["a", "b", "a", "c", "b"]) queue.add(key);
    expect(queue.depth).toBe(3);
    expect(await taken(queue)).toEqual(["a", "b", "c"]);
  });

  it("hands a key to whoever waits", async () => {
    const queue = new WorkQueue();
    const waiting = queue.take();
    queue.add("a");
    expect(await waiting).toBe("a");
  });

  it("never gives one key to two workers, and runs it again when it was added meanwhile", async () => {
    const queue = new WorkQueue();
    queue.add("a");
    expect(await queue.take()).toBe("a");
    queue.add("a");
    queue.add("a");
    queue.add("b");
    expect(queue.depth).toBe(1);
    expect(await queue.take()).toBe("b");
    queue.done("a");
    expect(await queue.take()).toBe("a");
    queue.done("a");
    queue.done("b");
    expect(queue.depth).toBe(0);
  });

  it("serves live keys first, and lets a background key through now and then", async () => {
    const queue = new WorkQueue();
    for (let n = 0; n < 3; n += 1) queue.add(`old${n}`, "background");
    for (let n = 0; n < 40; n += 1) queue.add(`live${n}`);
    const order = await taken(queue);
    expect(order.slice(0, 10).every((key) => key.startsWith("live"))).toBe(true);
    expect(order.indexOf("old0")).toBeLessThan(20);
    expect(order).toHaveLength(43);
  });

  it("moves a background key up when it changes", async () => {
    const queue = new WorkQueue();
    queue.add("x", "background");
    queue.add("y", "background");
    queue.add("y");
    queue.add("y", "background");
    expect(await taken(queue)).toEqual(["y", "x"]);
  });

  it("adds later, and of several wishes keeps the earliest", async () => {
    const queue = new WorkQueue();
    queue.addAfter("a", 1_000);
    queue.addAfter("a", 200);
    queue.addAfter("a", 5_000);
    await vi.advanceTimersByTimeAsync(199);
    expect(queue.depth).toBe(0);
    await vi.advanceTimersByTimeAsync(1);
    expect(await taken(queue)).toEqual(["a"]);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(queue.depth).toBe(0);
  });

  it("forgets a delay when the key runs before", async () => {
    const queue = new WorkQueue();
    queue.addAfter("a", 1_000);
    queue.add("a");
    expect(await taken(queue)).toEqual(["a"]);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(queue.depth).toBe(0);
  });

  it("adds at once what is due, and holds delays longer than a timer can", async () => {
    const queue = new WorkQueue();
    queue.addAfter("now", 0);
    queue.addAfter("odd", Number.NaN);
    expect(await taken(queue)).toEqual(["now", "odd"]);
    const days = 40 * 24 * 3_600_000;
    queue.addAfter("far", days);
    await vi.advanceTimersByTimeAsync(days - 10);
    expect(queue.depth).toBe(0);
    await vi.advanceTimersByTimeAsync(20);
    expect(queue.depth).toBe(1);
  });

  it("doubles the pause of a key that fails, up to a bound, and of that key alone", () => {
    const queue = new WorkQueue(fixed);
    const pauses = Array.from({ length: 6 }, () => queue.addAfterFailure("a"));
    expect(pauses).toEqual([100, 200, 400, 800, 1_000, 1_000]);
    expect(queue.addAfterFailure("b")).toBe(100);
    queue.forget("a");
    expect(queue.addAfterFailure("a")).toBe(100);
  });

  it("drains: takes nothing more, and waits for the work in hand", async () => {
    const queue = new WorkQueue();
    queue.add("a");
    queue.add("b");
    expect(await queue.take()).toBe("a");
    const waiting = new WorkQueue();
    const taker = waiting.take();
    await waiting.shut();
    expect(await taker).toBeUndefined();
    let isShut = false;
    const shut = queue.shut().then(() => {
      isShut = true;
    });
    queue.add("c");
    expect(await queue.take()).toBeUndefined();
    expect(isShut).toBe(false);
    queue.done("a");
    await shut;
    expect(queue.depth).toBe(0);
  });

  it("tells how long a key waited", async () => {
    const waits: number[] = [];
    const queue = new WorkQueue({ onTaken: (seconds) => waits.push(seconds) });
    queue.add("a");
    await vi.advanceTimersByTimeAsync(1_500);
    await queue.take();
    expect(waits).toEqual([1.5]);
  });

  it("loses nothing and doubles nothing, whatever the order of calls", async () => {
    const call = fc.oneof(
      fc.record({ do: fc.constant("add"), key: fc.integer({ min: 0, max: 4 }) }),
      fc.record({ do: fc.constant("later"), key: fc.integer({ min: 0, max: 4 }) }),
      fc.record({ do: fc.constant("take"), key: fc.constant(0) }),
      fc.record({ do: fc.constant("done"), key: fc.integer({ min: 0, max: 4 }) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(call, { maxLength: 60 }), async (calls) => {
        const queue = new WorkQueue();
        const working = new Set<string>();
        const dirty = new Set<string>();
        for (const { do: what, key: n } of calls) {
          const key = `k${n}`;
          if (what === "add" || what === "later") {
            dirty.add(key);
            if (what === "add") queue.add(key);
            else queue.addAfter(key, n * 10);
          } else if (what === "take" && queue.depth > 0) {
            const next = (await queue.take()) ?? "";
            expect(working.has(next)).toBe(false);
            working.add(next);
            dirty.delete(next);
          } else if (what === "done" && working.delete(key)) queue.done(key);
        }
        for (const key of working) queue.done(key);
        await vi.advanceTimersByTimeAsync(100);
        for (const key of await taken(queue)) dirty.delete(key);
        expect([...dirty]).toEqual([]);
        expect(queue.depth + queue.working + queue.delayed).toBe(0);
      }),
      { numRuns: 300 },
    );
  });
});
