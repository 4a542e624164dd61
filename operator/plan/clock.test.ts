// The operator's clock is set back by an hour: nobody waits for that hour.

import { describe, expect, test } from "vitest";
import { condition } from "./conditions.ts";
import { dueInMs, type Mail } from "./mail.ts";
import { eventsDueMs, wantsEvents } from "./podstate.ts";
import { at, datasetSpec, job, model } from "./testing/gen.ts";
import { Simulation } from "./testing/simulation.ts";

const base = model().spec;
const HOUR_MS = 3_600_000;

const begun = (): Simulation => {
  const cluster = new Simulation();
  cluster.apply("DeepModel", "pets", base);
  cluster.apply("Dataset", "photos", datasetSpec);
  return cluster;
};
const readyOf = (of: Parameters<typeof condition>[0]) => condition(of, "Ready")?.reason;

describe("a clock that is set back by an hour", () => {
  test("makes no retry of a training wait for it", () => {
    const cluster = begun();
    cluster.ending = (run) => (run.task === "import" ? { exit: 0 } : { exit: 1 });
    cluster.settle(5_000);
    expect(readyOf(cluster.models.get("pets")?.status)).toBe("RetryingAfterFailure");
    cluster.ending = () => ({ exit: 0 });
    cluster.nowMs -= HOUR_MS;
    cluster.settle(10_000);
    expect(readyOf(cluster.models.get("pets")?.status)).toBe("Trained");
  });

  test("makes no retry of an import wait for it", () => {
    const cluster = begun();
    cluster.ending = () => ({ exit: 1 });
    cluster.settle(5_000);
    expect(readyOf(cluster.datasets.get("photos")?.status)).toBe("RetryingAfterFailure");
    cluster.ending = () => ({ exit: 0 });
    cluster.nowMs -= HOUR_MS;
    cluster.settle(10_000);
    expect(readyOf(cluster.datasets.get("photos")?.status)).toBe("Imported");
  });

  test("makes no new version wait for it, but for the 10 s that it must", () => {
    const cluster = begun();
    cluster.settle();
    cluster.apply("DeepModel", "pets", {
      ...base,
      hyperparameters: { ...base.hyperparameters, num_epochs: 9 },
    });
    cluster.settle(5_000);
    cluster.nowMs -= HOUR_MS;
    cluster.settle(9_000);
    expect([...cluster.versions.keys()]).toEqual(["pets-v1"]);
    cluster.settle(10_000);
    expect([...cluster.versions.keys()]).toEqual(["pets-v1", "pets-v2"]);
  });

  test("makes no report wait for it", () => {
    const event = {
      type: "step",
      epoch: 0,
      epochs: 1,
      step: 1,
      steps: 2,
      loss: 1,
      lrate: 1,
    } as const;
    const mails: Mail[] = [
      {
        report: { task: "train", uid: "u", attempt: 1, sequence: 1, event },
        podUid: "pod-1",
        receivedAt: at(0),
      },
    ];
    const shown = { attempt: 1, epoch: 0, phase: undefined };
    expect(dueInMs(mails, shown, HOUR_MS, 1000)).toBe(0);
    expect(dueInMs(mails, shown, 1000, 2000)).toBe(9_000);
  });

  test("hides no refused pod for it", () => {
    const made = job("pets-v1-a1");
    expect(wantsEvents(made, [], at(-3600))).toBe(true);
    expect(eventsDueMs(made, [], at(-3600))).toBe(30_000);
    // A second or two between two machines are no reason to ask at once.
    expect(wantsEvents(made, [], at(-2))).toBe(false);
    expect(eventsDueMs(made, [], at(-2))).toBe(17_000);
  });
});
