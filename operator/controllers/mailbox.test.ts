import { describe, expect, test, vi } from "vitest";
import type { ProgressReport, TrainingEvent } from "../../api/progress.ts";
import type { Mail } from "../plan/mail.ts";
import { report } from "../plan/testing/gen.ts";
import { Mailbox } from "./mailbox.ts";

const position = { epoch: 1, epochs: 4, step: 5, steps: 20 };
const step: TrainingEvent = { type: "step", ...position, loss: 1, lrate: 1 };
const phase: TrainingEvent = { type: "phase", phase: "training" };
const mail = (sequence: number, event: TrainingEvent = step, attempt = 1): ProgressReport => ({
  task: "train",
  uid: "u",
  attempt,
  sequence,
  event,
});
const epoch: TrainingEvent = { ...step, type: "epoch", seconds: 1 };
const importReport = (sequence: number): ProgressReport => ({
  task: "import",
  uid: "u",
  attempt: 1,
  sequence,
  event: { type: "report", report: report() },
});
const sent = (report: ProgressReport, receivedAt: string): Mail => ({
  report,
  podUid: "pod-1",
  receivedAt,
});
const sequences = (mailbox: Mailbox): number[] =>
  mailbox.read("u").map(({ report }) => report.sequence);

describe("Mailbox", () => {
  test("tells whose mail came, and keeps it until it is settled", async () => {
    const woken: string[] = [];
    const mailbox = new Mailbox((uid) => woken.push(uid));
    const written = mailbox.put("u", sent(mail(1, phase), "now"));
    expect(woken).toEqual(["u"]);
    const mails = mailbox.read("u");
    expect(mailbox.read("u")).toEqual(mails);
    mailbox.settle("u", mails);
    await written;
    expect(mailbox.read("u")).toEqual([]);
  });

  test("a newer report takes the place of the older one that it repeats, of the same attempt only", async () => {
    const mailbox = new Mailbox(() => undefined);
    const first = mailbox.put("u", sent(mail(1), "a"));
    void mailbox.put("u", sent(mail(2), "b"));
    await first;
    void mailbox.put("u", sent(mail(3, phase), "c"));
    void mailbox.put("u", sent(mail(4), "d"));
    void mailbox.put("u", sent(mail(1, step, 2), "e"));
    expect(sequences(mailbox)).toEqual([3, 4, 1]);
    mailbox.forget("u");
  });

  test("what came after the status was made stays", () => {
    const mailbox = new Mailbox(() => undefined);
    void mailbox.put("u", sent(mail(1, phase), "a"));
    const mails = mailbox.read("u");
    void mailbox.put("u", sent(mail(2, step), "b"));
    mailbox.settle("u", mails);
    expect(sequences(mailbox)).toEqual([2]);
    mailbox.forget("u");
  });

  test("a thousand reports of one run do not grow it", () => {
    const mailbox = new Mailbox(() => undefined);
    for (let i = 1; i <= 1000; i += 1)
      void mailbox.put("u", sent(mail(i, i % 2 ? phase : step), "a"));
    expect(mailbox.read("u")).toHaveLength(2);
    for (let i = 1001; i <= 2000; i += 1) void mailbox.put("u", sent(mail(i, epoch), "a"));
    expect(mailbox.read("u").length).toBeLessThanOrEqual(256);
    expect(sequences(mailbox).at(-1)).toBe(2000);
    mailbox.forget("u");
  });

  test("an import's report that a newer one replaces, or that no status takes, is not acknowledged", async () => {
    const mailbox = new Mailbox(() => undefined);
    const first = expect(mailbox.put("u", sent(importReport(1), "a"))).rejects.toThrow(/newer/);
    const second = expect(mailbox.put("u", sent(importReport(2), "b"))).rejects.toThrow(
      "too large",
    );
    mailbox.refuse("u", mailbox.read("u"), new Error("too large"));
    await Promise.all([first, second]);
    expect(mailbox.read("u")).toEqual([]);
  });

  test("a report that is not written in time is refused", async () => {
    vi.useFakeTimers();
    try {
      const mailbox = new Mailbox(() => undefined);
      const written = mailbox.put("u", sent(mail(1, phase), "a"));
      const refused = expect(written).rejects.toThrow(/in time/);
      await vi.advanceTimersByTimeAsync(12_000);
      await refused;
    } finally {
      vi.useRealTimers();
    }
  });
});
