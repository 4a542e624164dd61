import { describe, expect, test } from "vitest";
import { conceptMetricNames, evaluations } from "../../api/metrics.ts";
import { ModelVersionStatus } from "../../api/modelversion.ts";
import type { TrainingEvent } from "../../api/progress.ts";
import { etaText, metricText, progressText } from "./display.ts";
import { dueInMs, type Mail, PROGRESS_EVERY_MS } from "./mail.ts";
import { at, version } from "./testing/gen.ts";
import { bytesOf, readMails, settledProgress } from "./versionprogress.ts";

const mail = (
  event: TrainingEvent,
  sequence: number,
  attempt = 1,
  { podUid = "pod-1", seconds = sequence } = {},
): Mail => ({
  podUid,
  receivedAt: at(seconds),
  report: { task: "train", uid: "uid-pets-v1", attempt, sequence, event },
});
const position = (epoch: number) => ({ epoch, epochs: 4, step: epoch * 19, steps: 76 });
const epoch = (number: number, top1 = 0.5): TrainingEvent => ({
  type: "epoch",
  ...position(number),
  imagesPerSecond: 123.456,
  etaSeconds: 80.4,
  loss: 1 / number,
  lrate: 0.05,
  seconds: 10,
  validation: { top1 },
});

describe("progress", () => {
  test("within an epoch: share, speed and time left", () => {
    const told = readMails(version(), 1, [
      mail({ type: "started", ...position(0), threads: 2, device: "cpu", precision: "fp32" }, 1),
      mail({ type: "phase", phase: "training" }, 2),
      mail(
        {
          type: "step",
          ...position(0),
          step: 25,
          loss: 2,
          lrate: 0.05,
          imagesPerSecond: 200,
          etaSeconds: 81,
        },
        3,
      ),
    ]);
    expect(told.progress).toMatchObject({
      epoch: 0,
      percent: 32.8,
      imagesPerSecond: 200,
      phase: "training",
      display: "0/4 · 32% · 1m21s",
      updatedAt: at(3),
    });
    expect(told.attempt).toEqual({
      threads: 2,
      device: "cpu",
      precision: "fp32",
      startedFromStep: 0,
    });
    expect(told.reported).toEqual({ attempt: 1, sequence: 3, pod: "pod-1", since: at(1) });
    expect(told.base).toBeUndefined();
  });

  test("how the weights began is kept to the end", () => {
    const base = { loaded: 244, new: 2 };
    const run = { threads: 2, device: "cpu", precision: "fp32" } as const;
    const told = readMails(version(), 1, [
      mail({ type: "started", ...position(0), ...run, base }, 1),
      mail(epoch(1), 2),
    ]);
    expect(told.base).toEqual(base);
    expect(settledProgress(told, { epochs: 4, steps: 76 }, at(9)).base).toEqual(base);
  });

  test("at an epoch's end: history and the headline metric", () => {
    const told = readMails(version(), 1, [mail(epoch(1, 0.71), 1)]);
    expect(told.progress?.display).toBe("1/4 · 25% · 1m20s");
    expect(told.history).toEqual([{ epoch: 1, loss: 1, lrate: 0.05, validation: { top1: 0.71 } }]);
    const { loss: _, ...withoutLoss } = epoch(2, 0.5) as Extract<TrainingEvent, { type: "epoch" }>;
    const next = readMails(version(), 1, [mail(epoch(1), 2), mail(withoutLoss, 3)]);
    expect(next.history?.map((point) => point.loss)).toEqual([1, undefined]);
    expect(next.progress?.loss).toBe(1);
    expect(told.metric).toBe("top1 0.710");
  });

  test("replayed, late and another attempt's reports change nothing", () => {
    const before = version({ status: { reported: { attempt: 2, sequence: 5 }, history: [] } });
    for (const [sequence, attempt] of [
      [5, 2],
      [4, 2],
      [9, 1],
      [9, 3],
    ] as const) {
      expect(readMails(before, 2, [mail(epoch(3), sequence, attempt)]).progress).toBeUndefined();
    }
    expect(readMails(before, 2, [mail(epoch(3), 6, 2)]).progress?.epoch).toBe(3);
  });

  test("an attempt that resumes trains again what came after its checkpoint", () => {
    const first = readMails(version(), 1, [
      mail(epoch(1), 1),
      mail(epoch(2), 2),
      mail(epoch(3), 3),
    ]);
    const { attempt: _, ...status } = first;
    const resumed = readMails(version({ status }), 2, [
      mail({ type: "started", ...position(1), threads: 2, device: "cpu", precision: "fp32" }, 1, 2),
      mail(epoch(2, 0.9), 2, 2),
    ]);
    expect(resumed.history?.map(({ epoch: number }) => number)).toEqual([1, 2]);
    expect(resumed.attempt?.startedFromStep).toBe(19);
  });

  test("a pod that replaces another in the same attempt counts anew, and what was lost with it is told", () => {
    const started = {
      type: "started",
      ...position(1),
      threads: 2,
      device: "cpu",
      precision: "fp32",
    } as const;
    const first = readMails(version(), 1, [
      mail({ ...started, ...position(0) }, 1, 1, { seconds: 10 }),
      mail(epoch(1), 2, 1, { seconds: 20 }),
      mail({ type: "checkpoint", epoch: 1, step: 19 }, 3, 1, { seconds: 21 }),
      mail(epoch(2), 4, 1, { seconds: 40 }),
    ]);
    expect(first.lostSeconds).toBeUndefined();
    const { attempt: _, ...status } = first;
    const second = { podUid: "pod-2" };
    const resumed = readMails(version({ status }), 1, [
      mail(started, 1, 1, { ...second, seconds: 100 }),
      mail(started, 1, 1, { ...second, seconds: 100 }),
      mail(epoch(2, 0.9), 2, 1, { ...second, seconds: 120 }),
    ]);
    expect(resumed.reported).toEqual({ attempt: 1, sequence: 2, pod: "pod-2", since: at(100) });
    expect(resumed.history?.at(-1)?.validation).toEqual({ top1: 0.9 });
    expect(resumed.lostSeconds).toBe(19);
    // It ends before it has written a checkpoint: all that it did is lost, and nothing twice.
    const { attempt: __, ...later } = resumed;
    const third = readMails(version({ status: later }), 2, [
      mail(started, 1, 2, { podUid: "pod-3", seconds: 300 }),
    ]);
    expect(third.lostSeconds).toBe(39);
  });

  test("what was lost is told however a new process begins: the trainer says that it is loading", () => {
    const { attempt: _, ...status } = readMails(version(), 1, [
      mail({ type: "phase", phase: "loading" }, 1, 1, { seconds: 0 }),
      mail(epoch(1), 2, 1, { seconds: 20 }),
      mail({ type: "checkpoint", epoch: 1, step: 19 }, 3, 1, { seconds: 21 }),
      mail(epoch(2), 4, 1, { seconds: 40 }),
    ]);
    const loading: TrainingEvent = { type: "phase", phase: "loading" };
    const started: TrainingEvent = {
      type: "started",
      ...position(1),
      threads: 2,
      device: "cpu",
      precision: "fp32",
    };
    for (const [attempt, podUid] of [
      [1, "pod-2"],
      [2, "pod-2"],
      [2, "pod-1"],
    ] as const) {
      const second = { podUid, seconds: 100 };
      const told = readMails(version({ status }), attempt, [
        mail(loading, 1, attempt, second),
        mail(started, 2, attempt, { ...second, seconds: 130 }),
      ]);
      expect(told.lostSeconds).toBe(19);
    }
    const same = readMails(version({ status }), 1, [mail(loading, 5, 1, { seconds: 50 })]);
    expect(same.lostSeconds).toBeUndefined();
  });

  test("a thousand epochs keep to 60 points while running and 12 when settled, the first and the last among them", () => {
    const mails = Array.from({ length: 1000 }, (_, i) =>
      mail({ ...epoch(i + 1), epochs: 1000 } as TrainingEvent, i + 1),
    );
    const told = readMails(version(), 1, mails);
    const epochs = told.history?.map(({ epoch: number }) => number) ?? [];
    expect(epochs.length).toBeLessThanOrEqual(60);
    expect([epochs[0], epochs.at(-1)]).toEqual([1, 1000]);
    const settled = settledProgress(told, { epochs: 1000, steps: 19_000 }, at(9)).history ?? [];
    expect(settled).toHaveLength(12);
    expect([settled[0]?.epoch, settled.at(-1)?.epoch]).toEqual([1, 1000]);
  });

  test.each(evaluations)(
    "a running version is under 32 KiB, a settled one under 6 KiB: %s",
    (...names) => {
      const shares = conceptMetricNames.filter((name) => !name.endsWith("support"));
      const ofVideos = names.some((name) => name.startsWith("video_"));
      const concepts = Array.from({ length: 50 }, (_, i) => ({
        concept: `concept ${i} ${"ä".repeat(26)}`,
        ...Object.fromEntries(
          shares
            .filter((name) => ofVideos || !name.startsWith("video_"))
            .map((name) => [name, 1 / (i + 3)]),
        ),
        support: 100_000,
        ...(ofVideos ? { video_support: 1000 } : {}),
      }));
      const values = Object.fromEntries(names.map((name, i) => [name, 1 / (i + 3)]));
      const mails = Array.from({ length: 500 }, (_, i) =>
        mail({ ...epoch(i + 1), epochs: 500, validation: values } as TrainingEvent, i + 1),
      );
      const told = readMails(version(), 1, [
        ...mails,
        mail({ type: "evaluation", split: "test", values, concepts }, 501),
      ]);
      const { attempt: _, ...running } = told;
      expect(JSON.stringify(version({ status: running })).length).toBeLessThan(32 * 1024);
      const gated = Array.from({ length: 16 }, (_, i) => ({
        concept: `${String(i).padStart(8, "c")}${"ä".repeat(28)}`,
        metric: "video_precision" as const,
        value: 1 / 3e5,
      }));
      const { attempt: __, ...settled } = settledProgress(
        told,
        { epochs: 500, steps: 9500 },
        at(9),
      );
      const { concepts: fewer } = settledProgress(
        told,
        { epochs: 500, steps: 9500 },
        at(9),
        bytesOf({ gated }),
      );
      const beside = ModelVersionStatus.parse({ ...settled, concepts: fewer, gated });
      expect(JSON.stringify(version({ status: beside })).length).toBeLessThan(6 * 1024);
      const parsed = ModelVersionStatus.parse(settled);
      expect(JSON.stringify(version({ status: parsed })).length).toBeLessThan(6 * 1024);
      expect(parsed.concepts?.[0]?.concept).toContain("concept 0");
      expect(parsed.concepts?.length).toBeGreaterThanOrEqual(6);
      expect(parsed.concepts?.[0]?.video_ap).toBe(ofVideos ? 0.3333 : undefined);
    },
  );
});

describe("when progress is written", () => {
  const step = mail({ type: "step", ...position(1), loss: 1, lrate: 1 }, 1);
  const exporting = mail({ type: "phase", phase: "exporting" }, 1);
  const shown = { attempt: 1, epoch: 0, phase: "training" };

  test.each([
    ["nothing to write", [], shown, undefined, 1000, undefined],
    ["the first report of this process", [step], shown, undefined, 1000, 0],
    ["the first report of an attempt", [step], { attempt: 0 }, 1000, 1200, 800],
    ["a step soon after the last write", [step], shown, 1000, 4000, PROGRESS_EVERY_MS - 3000],
    ["a step long after it", [step], shown, 1000, 99_000, 0],
    ["an epoch's end", [step, mail(epoch(1), 2)], shown, 1000, 2001, 0],
    ["an epoch's end within the second", [mail(epoch(1), 2)], shown, 1000, 1400, 600],
    ["an epoch that is shown", [mail(epoch(1), 2)], { ...shown, epoch: 1 }, 1000, 2001, 8999],
    ["a change of phase", [exporting], shown, 1000, 2001, 0],
    ["the phase that is shown", [exporting], { ...shown, phase: "exporting" }, 1000, 2001, 8999],
    ["a checkpoint", [mail({ type: "checkpoint", epoch: 1, step: 9 }, 1)], shown, 1000, 2001, 8999],
  ] as const)("%s", (_, mails, before, last, now, want) => {
    expect(dueInMs(mails, before, last, now)).toBe(want);
  });
});

describe("columns", () => {
  test.each([
    [0, "0s"],
    [59.6, "1m00s"],
    [80, "1m20s"],
    [7500, "2h05m"],
    [900_000, "10d"],
  ])("%d seconds left are %s", (seconds, want) => expect(etaText(seconds)).toBe(want));

  test("progress", () => {
    expect(progressText({ epoch: 3, epochs: 10, percent: 42.9, etaSeconds: 80 })).toBe(
      "3/10 · 42% · 1m20s",
    );
    expect(progressText({ epoch: 10, epochs: 10, percent: 100, etaSeconds: 0 })).toBe(
      "10/10 · 100%",
    );
    expect(progressText({ epoch: 3, epochs: 10, percent: 30, etaSeconds: 0 })).toBe("3/10 · 30%");
  });

  test("the headline of each type of template, else what there is", () => {
    expect(metricText({ macro_ap: 0.8, top1: 0.9121 })).toBe("top1 0.912");
    expect(metricText({ macro_f1: 0.7, macro_ap: 0.8 })).toBe("macro_ap 0.800");
    expect(metricText({ precision: 0.9, map: 0.4, map50: 0.8 })).toBe("map50 0.800");
    expect(metricText({ baseline_recall_at_1: 0.5, recall_at_1: 0.7 })).toBe("recall_at_1 0.700");
    expect(metricText({ top1: 0.6, video_top1: 0.7 })).toBe("video_top1 0.700");
    expect(metricText({ macro_ap: 0.6, video_macro_ap: 0.7 })).toBe("video_macro_ap 0.700");
    expect(metricText({ log_loss: 0.3 })).toBe("log_loss 0.300");
    expect(metricText({})).toBeUndefined();
  });
});
