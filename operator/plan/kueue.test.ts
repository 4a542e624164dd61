import { describe, expect, test } from "vitest";
import type { DeepModelSpec } from "../../api/deepmodel.ts";
import { Job } from "./kubernetes.ts";
import {
  kueueLabel,
  queueDueMs,
  queuedMessage,
  splitScheduling,
  Workload,
  waitsInQueue,
} from "./kueue.ts";
import { placementOf } from "./placement.ts";
import { at, job, model, settings, version } from "./testing/gen.ts";
import { message, planned, wanting, world } from "./testing/versionworld.ts";
import { inspectJob, prepareJob, trainingJob } from "./trainingjob.ts";

const suspended = (
  labels: Record<string, string> = { [kueueLabel.queue]: "team-a" },
  name = "pets-v1-a1",
): Job => {
  const plain = job(name, { suspend: true });
  return { ...plain, metadata: { ...plain.metadata, labels } };
};
const workload = (
  ...conditions: [type: string, status: string, reason: string, message: string][]
) =>
  Workload.parse({
    status: {
      conditions: conditions.map(([type, status, reason, message]) => ({
        type,
        status,
        reason,
        message,
      })),
    },
  });

const noRoom = "couldn't assign flavors to pod set main: insufficient unused quota for cpu";

describe("a Job of a queue", () => {
  test("carries the queue and the priority as labels, and its pods neither", () => {
    const scheduling: DeepModelSpec["scheduling"] = {
      queueName: "team-a",
      workloadPriorityClassName: "urgent",
      nodeSelector: { pool: "gpu" },
      priorityClassName: "low",
    };
    const inputs = {
      version: version(),
      attempt: 1,
      placement: placementOf({ ...model().spec, scheduling }),
      threads: 1,
      oneNode: false,
    };
    for (const made of [trainingJob(inputs, settings), prepareJob(inputs, settings)]) {
      expect(made.metadata.labels).toMatchObject({
        "kueue.x-k8s.io/queue-name": "team-a",
        "kueue.x-k8s.io/priority-class": "urgent",
      });
      const { template, suspend } = made.spec as {
        template: { metadata: { labels: object }; spec: Record<string, unknown> };
        suspend?: boolean;
      };
      expect(suspend).toBeUndefined();
      expect(JSON.stringify(template.metadata.labels)).not.toContain("kueue");
      expect(template.spec).toMatchObject({
        nodeSelector: { pool: "gpu" },
        priorityClassName: "low",
      });
      expect(template.spec).not.toHaveProperty("queueName");
      expect(template.spec).not.toHaveProperty("workloadPriorityClassName");
    }
    // It could wait for ever, and other versions of the model for it.
    expect(JSON.stringify(inspectJob(inputs, settings))).not.toContain("kueue");
  });

  test("without a queue has no such label", () => {
    expect(splitScheduling({ nodeSelector: { a: "b" } })).toEqual({
      queueLabels: {},
      pod: { nodeSelector: { a: "b" } },
    });
  });

  test.each<[string, Job, Workload | undefined, RegExp, boolean?]>([
    ["somebody else's", suspended({}), undefined, /^the Job is suspended from outside/],
    ["not looked at yet", suspended(), undefined, /^waits in the queue team-a$/],
    [
      "without room",
      suspended(),
      workload(["QuotaReserved", "False", "Pending", noRoom]),
      /^waits in the queue team-a: couldn't assign .* quota for cpu$/,
    ],
    [
      "with quota, before its checks",
      suspended(),
      workload(["QuotaReserved", "True", "QuotaReserved", "Quota reserved"]),
      /^has quota of the queue team-a, whose admission checks are not done$/,
    ],
    [
      "taken back, with a checkpoint",
      suspended(),
      workload(
        ["QuotaReserved", "False", "Pending", noRoom],
        ["Evicted", "True", "Preempted", "Preempted to accommodate a workload"],
      ),
      /^lost its quota \(Preempted\), goes on from its last checkpoint, and waits in the queue team-a: couldn't/,
      true,
    ],
    [
      "taken back, without a checkpoint",
      suspended(),
      workload(["Evicted", "True", "Preempted", "Preempted to accommodate a workload"]),
      /^lost its quota \(Preempted\) and waits in the queue team-a$/,
    ],
    [
      "with a message of many lines and megabytes",
      suspended(),
      workload(["QuotaReserved", "False", "Pending", "a\nb ".repeat(1e5)]),
      /^waits in the queue team-a: a b a b .{0,240}…$/,
    ],
  ])("that is suspended, %s, says so", (_, of, seen, text, goesOn = false) => {
    expect(queuedMessage(of, seen, goesOn)).toMatch(text);
  });

  test("goes on from a checkpoint once there is one, and what prepares it never does", () => {
    const taken = workload(["Evicted", "True", "Preempted", "Preempted"]);
    const checkpoint = { epoch: 1, step: 19, savedAt: at(9) };
    const kept = /goes on from its last checkpoint/;
    for (const [name, gpus] of [
      ["pets-v1-a1", 0],
      ["pets-v1-a1-prepare", 1],
    ] as const) {
      const of = wanting({ spec: { resources: { gpus }, scheduling: { queueName: "team-a" } } });
      const first = planned(world({ model: of })).status;
      expect(first.attempts?.[0]?.job).toBe(name);
      const given = { model: of, jobs: [suspended(undefined, name)], workload: taken };
      const [early, later] = [first, { ...first, checkpoint }].map((status) =>
        message(planned(world({ ...given, status }))),
      );
      expect(early).toContain("lost its quota (Preempted) and waits in the queue team-a");
      if (gpus === 0) expect(later).toMatch(kept);
      else expect(later).not.toMatch(kept);
    }
  });

  test("is looked up in Kueue only while it is suspended by a queue", () => {
    expect(waitsInQueue(suspended())).toBe(true);
    expect(waitsInQueue(suspended({}))).toBe(false);
    expect(waitsInQueue({ ...suspended(), spec: { ...suspended().spec, suspend: false } })).toBe(
      false,
    );
  });

  test("is looked at again soon at first, and seldom when it has waited for long", () => {
    const due = [0, 60, 240, 3600, 86_400].map((seconds) => queueDueMs(suspended(), at(seconds)));
    expect(due).toEqual([5_000, 7_500, 30_000, 300_000, 300_000]);
    expect(queueDueMs(suspended(), at(-3600))).toBe(5_000);
    // It ran for a day until its quota was taken back.
    const conditions = [{ type: "Suspended", status: "True", lastTransitionTime: at(86_400) }];
    const taken = { ...suspended(), status: { conditions } };
    expect(queueDueMs(taken, at(86_460))).toBe(7_500);
    const admitted = { ...suspended(), status: { conditions: [{ ...conditions[0], type: "x" }] } };
    expect(queueDueMs(Job.parse(admitted), at(3600))).toBe(300_000);
  });
});
