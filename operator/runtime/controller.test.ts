import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Cache } from "./cache.ts";
import { Controller, type Next } from "./controller.ts";
import { storedWidget, type Widget, widgetCache } from "./testing/kinds.ts";

describe("a controller", () => {
  let logged: Array<Readonly<Record<string, unknown>>>;
  let runs: string[];
  const controllerOf = (reconcile: (key: string) => Promise<Next | undefined>, workers = 2) =>
    new Controller({
      name: "widget",
      workers,
      reconcile: (key) => {
        runs.push(key);
        return reconcile(key);
      },
      log: { error: (fields) => logged.push(fields) },
    });

  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    [logged, runs] = [[], []];
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it("tries a key that throws again, later and later, and no other key suffers", async () => {
    let failures = 0;
    const controller = controllerOf(async (key) => {
      if (key === "bad" && failures < 4) {
        failures += 1;
        throw new Error("no luck");
      }
      return undefined;
    });
    controller.start();
    controller.queue.add("bad");
    controller.queue.add("good");
    await vi.advanceTimersByTimeAsync(1);
    expect(runs).toEqual(["bad", "good"]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(runs.filter((key) => key === "bad")).toHaveLength(5);
    expect(logged).toHaveLength(4);
    expect(logged[0]).toMatchObject({ controller: "widget", key: "bad", failures: 1 });
    expect(controller.queue.failures("bad")).toBe(0);
  });

  it("runs again after the time that a reconcile asks for", async () => {
    const controller = controllerOf(async () => (runs.length < 3 ? { afterMs: 1_000 } : undefined));
    controller.start();
    controller.queue.add("a");
    await vi.advanceTimersByTimeAsync(1_500);
    expect(runs).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(runs).toHaveLength(3);
  });

  it("lets timers run while it works through much that needs no waiting", async () => {
    vi.useRealTimers();
    const controller = controllerOf(async () => {
      const until = performance.now() + 1;
      while (performance.now() < until);
      return undefined;
    });
    for (let n = 0; n < 400; n += 1) controller.queue.add(`k${n}`);
    // Counted in runs: on a busy machine milliseconds pass in which nothing of ours works.
    let mostRuns = 0;
    let before = 0;
    const timer = setInterval(() => {
      mostRuns = Math.max(mostRuns, runs.length - before);
      before = runs.length;
    }, 5);
    controller.start();
    while (runs.length < 400) await new Promise((resolve) => setTimeout(resolve, 5));
    clearInterval(timer);
    await controller.stop();
    expect(Math.max(mostRuns, runs.length - before)).toBeLessThan(200);
  });

  it("does not spin when a reconcile asks to run again at once", async () => {
    const controller = controllerOf(async () => (runs.length < 50 ? { afterMs: 0 } : undefined));
    controller.start();
    controller.queue.add("a");
    await vi.advanceTimersByTimeAsync(10);
    expect(runs.length).toBeLessThan(15);
    await vi.advanceTimersByTimeAsync(100);
    expect(runs).toHaveLength(50);
  });

  it("works on several keys at once, never twice on one", async () => {
    let now = 0;
    let most = 0;
    const controller = controllerOf(async () => {
      now += 1;
      most = Math.max(most, now);
      await new Promise((resolve) => setTimeout(resolve, 100));
      now -= 1;
      return undefined;
    }, 3);
    controller.start();
    for (const key of ["a", "b", "c", "d", "a"]) controller.queue.add(key);
    await vi.advanceTimersByTimeAsync(50);
    controller.queue.add("a");
    expect(most).toBe(3);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(runs.toSorted()).toEqual(["a", "a", "b", "c", "d"]);
  });

  it("ends the work in hand, and begins no other, when it stops", async () => {
    let ended = 0;
    const controller = controllerOf(async () => {
      await new Promise((resolve) => setTimeout(resolve, 500));
      ended += 1;
      return { afterMs: 1 };
    }, 1);
    controller.start();
    controller.queue.add("a");
    controller.queue.add("b");
    await vi.advanceTimersByTimeAsync(10);
    const stopped = controller.stop();
    await vi.advanceTimersByTimeAsync(1_000);
    await stopped;
    expect(ended).toBe(1);
    expect(runs).toEqual(["a"]);
  });

  it("follows caches by key, or by keys that it makes, before and after a change", async () => {
    const cache = new Cache<Widget>(widgetCache);
    const controller = controllerOf(async () => undefined)
      .follow(cache)
      .follow(cache, ({ before, after }) => [`was ${before?.size}`, `is ${after?.size}`]);
    cache.put(storedWidget("a", 1));
    controller.start();
    await vi.advanceTimersByTimeAsync(1);
    runs.length = 0;
    cache.put(storedWidget("a", 2, { size: 2 }));
    await vi.advanceTimersByTimeAsync(1);
    expect(runs).toEqual(["test/a", "was 1", "is 2"]);
  });
});
