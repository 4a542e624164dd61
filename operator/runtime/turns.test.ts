import { describe, expect, it } from "vitest";
import { Turns } from "./turns.ts";

const line = (options: { perSecond: number; burst: number }) => {
  const clock = { ms: 1_000 };
  return { clock, turns: new Turns({ ...options, now: () => clock.ms }) };
};

describe("turns", () => {
  it("let a burst through, then their rate", () => {
    const { turns } = line({ perSecond: 20, burst: 5 });
    const waits = Array.from({ length: 8 }, (_, n) => turns.ask(`k${n}`));
    expect(waits).toEqual([0, 0, 0, 0, 0, 50, 100, 150]);
    expect(turns.waiting).toBe(3);
  });

  it("keep the place of a key, however often it asks", () => {
    const { turns, clock } = line({ perSecond: 10, burst: 1 });
    expect(turns.ask("a")).toBe(0);
    expect(turns.ask("b")).toBe(100);
    expect(turns.ask("c")).toBe(200);
    for (let n = 0; n < 50; n += 1) turns.ask("b");
    expect(turns.ask("d")).toBe(300);
    clock.ms += 100;
    expect(turns.ask("c")).toBe(100);
    expect(turns.ask("b")).toBe(0);
    expect(turns.ask("b")).toBe(300);
  });

  it("serve everybody in order while more is wanted than there is", () => {
    const { turns, clock } = line({ perSecond: 20, burst: 20 });
    const served = new Map<string, number>();
    const since = new Map<string, number>();
    let longestMs = 0;
    for (let ms = 0; ms < 60_000; ms += 10) {
      clock.ms += 10;
      for (let n = 0; n < 100; n += 1) {
        const key = `run${n}`;
        if (turns.ask(key, 2) > 0) continue;
        longestMs = Math.max(longestMs, clock.ms - (since.get(key) ?? clock.ms));
        since.set(key, clock.ms);
        served.set(key, (served.get(key) ?? 0) + 1);
      }
    }
    const counts = [...served.values()];
    expect(counts).toHaveLength(100);
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
    // 100 keys, 2 writes each, 20 a second.
    expect(longestMs).toBeLessThanOrEqual(10_100);
    expect(counts.reduce((sum, count) => sum + 2 * count, 0)).toBeLessThanOrEqual(60 * 20 + 20);
  });

  it("given or forgotten, a place changes nobody else's", () => {
    const { turns, clock } = line({ perSecond: 10, burst: 1 });
    turns.ask("a");
    turns.ask("b");
    turns.give("c");
    expect(turns.ask("c")).toBe(0);
    turns.forget("b");
    expect(turns.waiting).toBe(0);
    clock.ms += 200;
    expect(turns.ask("b")).toBe(0);
  });

  it("wait as long as the server asks, however often it says so, and keep their order", () => {
    const { turns, clock } = line({ perSecond: 10, burst: 1 });
    turns.ask("a");
    expect(turns.ask("b")).toBe(100);
    turns.pause(5_000);
    turns.pause(5_000);
    turns.give("a");
    expect(turns.ask("a")).toBe(5_000);
    expect(turns.ask("b")).toBe(5_100);
    expect(turns.ask("c")).toBe(5_200);
    clock.ms += 5_000;
    expect(turns.ask("a")).toBe(0);
  });
});
