import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ProgressReport, TrainingEvent } from "../../api/progress.ts";
import { Mailbox, writeDelayMs } from "./mailbox.ts";

const train = (sequence: number, event: TrainingEvent, attempt = 1): ProgressReport => ({
  task: "train",
  uid: "u",
  attempt,
  sequence,
  event,
});
const position = (epoch: number, step: number) => ({ epoch, epochs: 10, step, steps: 100 });
const step = (at: number, speed?: number): TrainingEvent => ({
  type: "step",
  ...position(0, at),
  loss: 1,
  lrate: 0.1,
  ...(speed === undefined ? {} : { imagesPerSecond: speed }),
});
const epoch = (number: number): TrainingEvent => ({
  type: "epoch",
  ...position(number, number * 10),
  loss: 1,
  lrate: 0.1,
  seconds: 3,
});

describe("a mailbox", () => {
  let box: Mailbox;
  beforeEach(() => {
    vi.useFakeTimers();
    box = new Mailbox();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it("keeps the newest step and every epoch", () => {
    box.put("u", train(1, step(1)), 1_000);
    box.put("u", train(2, epoch(1)), 2_000);
    box.put("u", train(3, step(11)), 3_000);
    box.put("u", train(4, epoch(2)), 4_000);
    const pending = box.peek("u");
    expect(pending?.step?.step).toBe(11);
    expect(pending?.epochs.map((event) => event.epoch)).toEqual([1, 2]);
    expect(pending).toMatchObject({ attempt: 1, sequence: 4, receivedMs: 4_000 });
  });

  it("is urgent for what people wait for: phases, epochs, evaluations, the first speed", () => {
    const urgent = (event: TrainingEvent, sequence: number) => {
      box.put("u", train(sequence, event), 0);
      const is = box.peek("u")?.urgent;
      box.acknowledge("u", 1, sequence);
      return is;
    };
    expect(urgent({ type: "phase", phase: "loading" }, 1)).toBe(true);
    expect(urgent(step(1), 2)).toBe(false);
    expect(urgent(step(20, 50), 3)).toBe(true);
    expect(urgent(step(30, 51), 4)).toBe(false);
    expect(urgent({ type: "checkpoint", epoch: 1, step: 30 }, 5)).toBe(false);
    expect(urgent(epoch(1), 6)).toBe(true);
  });

  it("stays urgent when something newer replaces what was", () => {
    box.put("u", train(1, step(20, 50)), 0);
    box.put("u", train(2, step(21, 50)), 0);
    expect(box.peek("u")?.urgent).toBe(true);
  });

  it("is urgent when an import changes its phase, not while it counts", () => {
    const report = (sequence: number, phase: "downloading" | "checking", done: number) =>
      box.put(
        "d",
        { task: "import", uid: "d", attempt: 1, sequence, event: { type: "import", phase, done } },
        0,
      );
    report(1, "downloading", 0);
    expect(box.peek("d")?.urgent).toBe(true);
    box.acknowledge("d", 1, 1);
    report(2, "downloading", 5);
    expect(box.peek("d")).toMatchObject({ urgent: false, import: { done: 5 } });
    report(3, "checking", 0);
    expect(box.peek("d")?.urgent).toBe(true);
  });

  it("forgets what was written, not what came meanwhile", () => {
    box.put("u", train(1, epoch(1)), 0);
    const written = box.peek("u");
    box.put("u", train(2, epoch(2)), 0);
    box.acknowledge("u", 1, written?.sequence ?? 0);
    expect(box.peek("u")?.epochs.map((event) => event.epoch)).toEqual([2]);
    box.acknowledge("u", 1, 2);
    expect(box.peek("u")).toBeUndefined();
  });

  it("begins anew with a new attempt, and ignores acknowledgements of the old one", () => {
    box.put("u", train(7, epoch(3)), 0);
    box.put("u", train(1, epoch(4), 2), 0);
    box.acknowledge("u", 1, 7);
    expect(box.peek("u")).toMatchObject({ attempt: 2, sequence: 1, epochs: [{ epoch: 4 }] });
  });

  it("bounds what it keeps", () => {
    for (let n = 1; n <= 1_000; n += 1) box.put("u", train(n, epoch(n)), 0);
    const kept = box.peek("u")?.epochs ?? [];
    expect(kept).toHaveLength(128);
    expect(kept.at(-1)?.epoch).toBe(1_000);
    for (let n = 1_001; n <= 3_000; n += 1) box.put("u", train(n, step(n)), 0);
    expect(box.peek("u")?.step?.step).toBe(3_000);
  });

  it("keeps the newest evaluation of each split", () => {
    const evaluation = (split: "validation" | "test", top1: number): TrainingEvent => ({
      type: "evaluation",
      split,
      values: { top1 },
      concepts: [],
    });
    box.put("u", train(1, evaluation("validation", 0.5)), 0);
    box.put("u", train(2, evaluation("validation", 0.6)), 0);
    box.put("u", train(3, evaluation("test", 0.7)), 0);
    expect(box.peek("u")?.evaluations.map(({ split }) => split)).toEqual(["validation", "test"]);
  });

  it("tells when a report was written", async () => {
    box.put("u", train(1, epoch(1)), 0);
    let done = 0;
    const written = box.written("u", 1, 1).then(() => {
      done += 1;
    });
    await vi.advanceTimersByTimeAsync(10);
    expect(done).toBe(0);
    box.acknowledge("u", 1, 1);
    await written;
    await box.written("u", 1, 1);
    expect(done).toBe(1);
  });

  it("gives up waiting when nobody writes, the object goes, or another attempt begins", async () => {
    box.put("u", train(1, epoch(1)), 0);
    const late = expect(box.written("u", 1, 1)).rejects.toThrow("not written in time");
    await vi.advanceTimersByTimeAsync(20_000);
    await late;
    const gone = expect(box.written("u", 1, 1)).rejects.toThrow("gone");
    box.drop("u");
    await gone;
    box.put("u", train(1, epoch(1)), 0);
    const replaced = expect(box.written("u", 1, 1)).rejects.toThrow("another attempt");
    box.put("u", train(1, epoch(1), 2), 0);
    await replaced;
    box.drop("u");
    expect(box.size).toBe(0);
  });
});

describe("the next write", () => {
  it.each([
    ["the first at once", false, undefined, 0, 0],
    ["ordinary: ten seconds after the last", false, 1_000, 4_000, 7_000],
    ["urgent: one second after the last", true, 1_000, 1_400, 600],
    ["overdue at once", false, 1_000, 99_000, 0],
    ["a clock that was set back waits one interval, not an hour", false, 3_600_000, 0, 10_000],
  ])("%s", (_, urgent, last, now, want) => {
    expect(writeDelayMs({ urgent }, last, now)).toBe(want);
  });
});
