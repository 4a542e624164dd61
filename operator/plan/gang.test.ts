import { describe, expect, test } from "vitest";
import { z } from "zod";
import { RunFile } from "../../api/run.ts";
import { Event, Job, Pod } from "./kubernetes.ts";
import { placementOf } from "./placement.ts";
import { eventsDueMs, failureOf, podState, wantsEvents } from "./podstate.ts";
import { at, model, settings, T0, version } from "./testing/gen.ts";
import { CONTAINER } from "./trainerpod.ts";
import { gangPolicy, rendezvousService, trainingJob } from "./trainingjob.ts";

const meta = (name: string, labels = {}) => ({
  name,
  namespace: "shop",
  uid: `uid-${name}`,
  resourceVersion: "1",
  creationTimestamp: T0,
  labels,
});

const job = (ended?: "Complete" | "Failed" | "FailureTarget", why = {}): Job =>
  Job.parse({
    metadata: meta("pets-v1-a1"),
    spec: { completions: 3, template: { spec: { containers: [{ name: CONTAINER }] } } },
    ...(ended === undefined
      ? {}
      : { status: { conditions: [{ type: ended, status: "True", ...why }] } }),
  });

type End = [code: number, second: number] | "waits" | undefined;

const phaseOf = (end: End): string => {
  if (end === undefined) return "Running";
  if (end === "waits") return "Pending";
  return end[0] === 0 ? "Succeeded" : "Failed";
};

/** `end`: exit code and the second at which it ended; absent: it runs; `waits`: it has no node. */
const pod = (index: number, end?: End, evicted = false): Pod =>
  Pod.parse({
    metadata: meta(`pets-v1-a1-${index}`, {
      "batch.kubernetes.io/job-completion-index": String(index),
    }),
    spec: { nodeName: `node-${index}` },
    status: {
      phase: phaseOf(end),
      conditions: [
        ...(end === "waits"
          ? [{ type: "PodScheduled", status: "False", reason: "Unschedulable", message: "full" }]
          : []),
        ...(evicted ? [{ type: "DisruptionTarget", status: "True" }] : []),
      ],
      containerStatuses:
        end === "waits"
          ? []
          : [
              {
                name: CONTAINER,
                state:
                  end === undefined
                    ? { running: {} }
                    : {
                        terminated: {
                          exitCode: end[0],
                          finishedAt: new Date(Date.parse(T0) + end[1] * 1000).toISOString(),
                          message: `record of ${index}`,
                          ...(end[0] === 137 ? { reason: "OOMKilled" } : {}),
                        },
                      },
              },
            ],
    },
  });

const event = (reason: string, message: string): Event =>
  Event.parse({ involvedObject: {}, reason, message });

/** Has a node since then, but no container. */
const starting = (index: number, since: number): Pod => ({
  ...pod(index),
  status: {
    phase: "Pending",
    conditions: [{ type: "PodScheduled", status: "True", lastTransitionTime: at(since) }],
  },
});

const failed = (pods: Pod[], why = {}) => {
  const state = podState({ job: job("Failed", why), pods, events: [] });
  if (state.is !== "ended") throw new Error(state.is);
  const failure = failureOf(state.end, { memory: "4Gi", crash: "TrainingFailed" });
  return [failure.reason, failure.retry, state.end.terminationMessage];
};

describe("pods that train together", () => {
  test("wait as long as one of them does, and run as pod 0", () => {
    expect(podState({ job: job(), pods: [pod(2, "waits"), pod(0), pod(1)], events: [] })).toEqual({
      is: "waiting",
      reason: "Unschedulable",
      message: "no node takes the pod: full",
    });
    expect(podState({ job: job(), pods: [pod(2), pod(0), pod(1)], events: [] })).toMatchObject({
      is: "running",
      pod: { node: "node-0" },
    });
  });

  test.each([
    ["one refused by a quota", [pod(0), pod(2)], "exceeded quota: small", "QuotaExceeded"],
    ["all refused", [], "exceeded quota: small", "QuotaExceeded"],
    ["beside one that waits", [pod(0), pod(2, "waits")], "violates PodSecurity", "AdmissionDenied"],
    ["beside one that is done", [pod(0), pod(1, [0, 3])], "webhook denied", "AdmissionDenied"],
  ])("do not run while one is missing: %s", (_, pods, why, reason) => {
    const refusal = `pods "x" is forbidden: ${why}`;
    const events = [event("FailedCreate", `Error creating: ${refusal}`)];
    expect(podState({ job: job(), pods, events })).toEqual({
      is: "waiting",
      reason,
      message: `the pod is refused: ${refusal}`,
    });
    expect(wantsEvents(job(), pods, at(14))).toBe(false);
    expect(eventsDueMs(job(), pods, at(14))).toBe(1_000);
    expect(wantsEvents(job(), pods, at(15))).toBe(true);
  });

  test("are being created until all are there; what the others say counts until then", () => {
    expect(podState({ job: job(), pods: [pod(0), pod(2)], events: [] })).toMatchObject({
      is: "waiting",
      reason: "Starting",
    });
    expect(podState({ job: job(), pods: [pod(0), pod(1, "waits")], events: [] })).toMatchObject({
      is: "waiting",
      reason: "Unschedulable",
    });
  });

  test("lack none where all are there, or where the Job ends: an old refusal tells nothing", () => {
    const events = [event("FailedCreate", "Error creating: exceeded quota")];
    const all = [pod(0), pod(1), pod(2)];
    const ending: [Job, Pod[]][] = [
      [job(), all],
      [job(), [pod(0), pod(1, [1, 5]), pod(2)]],
      [job("FailureTarget"), [pod(0), pod(2)]],
    ];
    for (const [made, pods] of ending) {
      expect(podState({ job: made, pods, events })).toMatchObject({ is: "running" });
      expect(wantsEvents(made, pods, at(3600))).toBe(false);
    }
  });

  test("have their events read for the one that is furthest behind", () => {
    const behind = starting(1, 100);
    const pods = [
      pod(0),
      behind,
      { ...pod(2), metadata: { ...pod(2).metadata, creationTimestamp: at(50) } },
    ];
    expect(wantsEvents(job(), pods, at(114))).toBe(false);
    expect(eventsDueMs(job(), pods, at(114))).toBe(1_000);
    expect(wantsEvents(job(), pods, at(115))).toBe(true);
  });

  test("end with the record of pod 0", () => {
    // Of Jobs of an earlier release, which made a pod again that had lost its peer.
    const stale = pod(1, [44, 1]);
    const pods = [stale, pod(1, [0, 2]), pod(0, [0, 2]), pod(2, [0, 3])];
    const state = podState({ job: job("Complete"), pods, events: [] });
    expect(state).toMatchObject({
      is: "ended",
      end: { succeeded: true, exitCode: 0, terminationMessage: "record of 0" },
    });
  });

  test.each([
    [
      "a crash before those that noticed",
      [
        [44, 1],
        [1, 2],
        [44, 3],
      ],
      "TrainingFailed",
      "counted",
      1,
    ],
    [
      "the first crash of two",
      [
        [1, 5],
        [44, 3],
        [1, 2],
      ],
      "TrainingFailed",
      "counted",
      2,
    ],
    [
      "want of memory",
      [
        [44, 1],
        [137, 1],
        [44, 1],
      ],
      "OutOfMemory",
      "never",
      1,
    ],
    [
      "divergence, of which all tell",
      [
        [43, 2],
        [43, 1],
        [43, 3],
      ],
      "Diverged",
      "never",
      1,
    ],
    [
      "a peer that left nothing",
      [
        [44, 2],
        [143, 1],
        [143, 3],
      ],
      "PeerLost",
      "counted",
      0,
    ],
    [
      "pods that never met",
      [
        [45, 2],
        [143, 1],
        [143, 3],
      ],
      "RendezvousTimedOut",
      "free",
      0,
    ],
    [
      "SIGTERM to all",
      [
        [143, 2],
        [143, 1],
        [143, 3],
      ],
      "Preempted",
      "free",
      1,
    ],
  ] as [string, [number, number][], string, string, number][])(
    "fail by the first reason: %s",
    (_, ends, reason, retry, who) => {
      expect(failed(ends.map((end, index) => pod(index, end)))).toEqual([
        reason,
        retry,
        `record of ${who}`,
      ]);
    },
  );

  test("are taken back by their queue as one, though one was lost to the others before it was told", () => {
    const given = job("Failed");
    const suspended: Job = { ...given, spec: { ...given.spec, suspend: true } };
    const pods = [pod(0, [143, 2]), pod(1, [44, 1]), pod(2, [143, 2])];
    const state = podState({ job: suspended, pods, events: [] });
    if (state.is !== "ended") throw new Error(state.is);
    const asked = { memory: "4Gi", crash: "TrainingFailed" } as const;
    expect(failureOf(state.end, asked)).toMatchObject({ reason: "Preempted", retry: "free" });
  });

  test("are preempted as one, whatever the others made of it", () => {
    expect(failed([pod(0, [44, 1]), pod(1, [143, 2], true), pod(2, [44, 3])])[0]).toBe("Preempted");
  });

  const byRule = (index: number) => ({
    reason: "PodFailurePolicy",
    message: `Pod shop/pets-v1-a1-1 has condition DisruptionTarget matching FailJob rule at index ${index}`,
  });

  test.each([
    ["its peer noticed", [pod(0, [44, 1])]],
    ["its peer crashed over it", [pod(0, [1, 1])]],
    ["no pod is left", []],
  ])("are preempted where the evicted pod is gone: %s", (_, pods) => {
    expect(failed(pods, byRule(0)).slice(0, 2)).toEqual(["Preempted", "free"]);
    expect(failed(pods, byRule(1))[0]).not.toBe("Preempted");
    expect(failed(pods, { ...byRule(0), reason: "BackoffLimitExceeded" })[0]).not.toBe("Preempted");
  });

  test.each([
    [43, "Diverged"],
    [42, "InputInvalid"],
  ])("are judged by exit %i although another is evicted: it would come again", (code, reason) => {
    const evicted = pod(1, [1, 1], true);
    const verdict = [reason, "never", "record of 0"];
    expect(failed([pod(0, [code, 2]), evicted, pod(2, [44, 3])])).toEqual(verdict);
    expect(failed([pod(0, [code, 2])], byRule(0))).toEqual(verdict);
  });
});

const IndexedJob = z.looseObject({
  spec: z.looseObject({
    podFailurePolicy: z.object({
      rules: z.array(
        z.looseObject({
          action: z.string(),
          onExitCodes: z.looseObject({ values: z.array(z.int()) }).optional(),
        }),
      ),
    }),
    template: z.looseObject({
      metadata: z.looseObject({ annotations: z.record(z.string(), z.string()) }),
    }),
  }),
});

describe("the Job of several nodes", () => {
  const inputs = {
    version: version(),
    attempt: 2,
    placement: placementOf({ ...model().spec, resources: { gpus: 4, nodes: 3 } }),
    threads: 8,
    oneNode: false,
  };
  const made = IndexedJob.parse(trainingJob(inputs, settings));

  test("is indexed, gives up as a whole, and its pods find pod 0", () => {
    expect(made.spec).toMatchObject({
      completionMode: "Indexed",
      completions: 3,
      parallelism: 3,
      backoffLimit: 0,
      template: { spec: { subdomain: "pets-v1" } },
    });
    const { rules } = made.spec.podFailurePolicy;
    expect(rules.map(({ action, onExitCodes }) => [action, onExitCodes?.values])).toEqual([
      ["FailJob", undefined],
      ["FailJob", [42, 43]],
    ]);
    const text = made.spec.template.metadata.annotations["deeptrain.dev/run"] ?? "";
    expect(RunFile.parse(JSON.parse(text))).toMatchObject({
      gpus: 4,
      nodes: 3,
      rendezvous: { host: "pets-v1-a2-0.pets-v1", port: 29500 },
    });
  });

  test("has a headless Service that the version owns and that names pods before they are ready", () => {
    expect(rendezvousService(version())).toMatchObject({
      kind: "Service",
      metadata: { name: "pets-v1", ownerReferences: [{ kind: "ModelVersion", name: "pets-v1" }] },
      spec: {
        clusterIP: "None",
        publishNotReadyAddresses: true,
        selector: { "deeptrain.dev/version": "pets-v1", "deeptrain.dev/task": "train" },
      },
    });
  });

  test("are reached by one another alone", () => {
    const pods = {
      matchLabels: { "deeptrain.dev/version": "pets-v1", "deeptrain.dev/task": "train" },
    };
    expect(gangPolicy(version())).toMatchObject({
      kind: "NetworkPolicy",
      metadata: { name: "pets-v1", ownerReferences: [{ kind: "ModelVersion", name: "pets-v1" }] },
      spec: {
        podSelector: pods,
        policyTypes: ["Ingress"],
        ingress: [{ from: [{ podSelector: pods }] }],
      },
    });
  });
});
