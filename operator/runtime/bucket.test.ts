import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { AdaptiveBucket, type Bucket, type Turn } from "./bucket.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const ask = (bucket: Bucket, times: number): Turn[] => {
  const turns: Turn[] = [];
  for (let n = 0; n < times; n += 1) void bucket.turn().then((turn) => turns.push(turn));
  return turns;
};
const settle = () => vi.advanceTimersByTimeAsync(0);

describe("an adaptive bucket", () => {
  it("bounds the requests in flight", async () => {
    const bucket = new AdaptiveBucket({ initial: 3, max: 3 });
    const turns = ask(bucket, 5);
    await settle();
    expect(turns).toHaveLength(3);
    expect(bucket.waiting).toBe(2);
    turns[0]?.done();
    turns[0]?.done();
    await settle();
    expect(turns).toHaveLength(4);
  });

  it("grows with successes, up to its bound", async () => {
    const bucket = new AdaptiveBucket({ initial: 2, max: 6 });
    for (let n = 0; n < 100; n += 1) {
      const [turn] = [await bucket.turn()];
      turn?.done();
    }
    expect(bucket.limit).toBe(6);
  });

  it("halves once for one overload, pauses as long as asked, then goes on", async () => {
    const bucket = new AdaptiveBucket({ initial: 8, max: 8 });
    const turns = ask(bucket, 20);
    await settle();
    for (const turn of turns.splice(0)) turn.throttled(2_000);
    expect(bucket.limit).toBe(4);
    await vi.advanceTimersByTimeAsync(1_999);
    expect(turns).toHaveLength(0);
    await vi.advanceTimersByTimeAsync(1);
    expect(turns).toHaveLength(4);
  });

  it("never falls under one request", async () => {
    const bucket = new AdaptiveBucket({ initial: 4, max: 4 });
    for (let n = 0; n < 10; n += 1) {
      const turn = bucket.turn();
      await vi.advanceTimersByTimeAsync(100);
      (await turn).throttled(50);
    }
    expect(bucket.limit).toBe(1);
    const turns = ask(bucket, 2);
    await vi.advanceTimersByTimeAsync(100);
    expect(turns).toHaveLength(1);
  });
});
