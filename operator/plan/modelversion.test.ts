import { describe, expect, test } from "vitest";
import type { Attempt, ModelVersionStatus } from "../../api/modelversion.ts";
import { condition } from "./conditions.ts";
import type { Event, Job, Pod } from "./kubernetes.ts";
import { planVersion } from "./modelversion.ts";
import { jobPlacement, placementDigest, placementOf } from "./placement.ts";
import {
  at,
  claim,
  complete,
  failed,
  failedRecord,
  job,
  model,
  pod,
  publishedRecord,
  T0,
} from "./testing/gen.ts";
import { effects, message, planned, ready, wanting, world } from "./testing/versionworld.ts";
import type { VersionWorld } from "./versionworld.ts";

const placement = jobPlacement(placementOf(model().spec), 2);
const attempt = (given: Partial<Attempt> = {}): Attempt => ({
  number: 1,
  job: `pets-v1-a${given.number ?? 1}`,
  state: "Pending",
  counted: false,
  cpu: "2",
  memory: "4Gi",
  gpus: 0,
  threads: 2,
  placement: placement.digest,
  ...given,
});

/** The status of a version whose attempt runs. */
const running = (given: Partial<Attempt> = {}, more: object = {}) => ({
  observedGeneration: 1,
  conditions: [
    {
      type: "Ready",
      status: "Unknown",
      reason: "Training",
      message: "attempt 1 is running",
      observedGeneration: 1,
      lastTransitionTime: T0,
    },
    {
      type: "Reconciling",
      status: "True",
      reason: "Training",
      message: "attempt 1 is running",
      observedGeneration: 1,
      lastTransitionTime: T0,
    },
  ],
  attempt: given.number ?? 1,
  countedAttempts: 0,
  threads: 2,
  attempts: [attempt({ state: "Running", startedAt: at(10), ...given })],
  ...more,
});

/** One pass over an attempt whose Job has ended. */
const endedBy = (
  how: {
    conditions?: Parameters<typeof job>[1] extends infer G
      ? G extends { conditions?: infer C }
        ? C
        : never
      : never;
    exit?: { code: number; reason?: string; message?: string };
    podGone?: boolean;
  },
  given: Partial<VersionWorld> & { status?: unknown } = {},
) => {
  const isComplete = how.exit?.code === 0;
  return planned(
    world({
      status: running(),
      jobs: [
        job("pets-v1-a1", { conditions: how.conditions ?? (isComplete ? complete : failed()) }),
      ],
      pods:
        how.podGone || how.exit === undefined ? [] : [pod({ job: "pets-v1-a1", exit: how.exit })],
      ...given,
    }),
  );
};

/** Two passes: it is written that the attempt is being stopped, then its Job is deleted. */
const stoppedFrom = (given: Partial<VersionWorld> & { status?: unknown }) => {
  const told = planned(world(given));
  expect([effects(told), ready(told), told.nextMs]).toEqual([[], "Unknown Stopping", 1]);
  return planned(world({ ...given, status: told.status }));
};

describe("beginning", () => {
  test("a version that nobody has decided upon is left alone, without a write", () => {
    expect(planVersion(world({ model: model() }))).toEqual({ effects: [], events: [] });
  });

  test("a wanted one gets the claim, if there is none, and its first Job", () => {
    expect(effects(planned(world({ claim: undefined })))).toEqual([
      "create deeptrain-store",
      "create pets-v1-a1",
    ]);
    const plan = planned(world());
    expect(effects(plan)).toEqual(["create pets-v1-a1"]);
    expect(ready(plan)).toBe("Unknown Starting");
    expect(plan.status).toMatchObject({
      attempt: 1,
      threads: 2,
      attempts: [{ number: 1, state: "Pending" }],
    });
  });

  test("a Job that was created before its status could be written is found again, as it was made", () => {
    const annotations = {
      "deeptrain.dev/placement": JSON.stringify({
        digest: "sha256:old",
        cpu: "7",
        memory: "9Gi",
        gpus: 1,
        threads: 7,
      }),
    };
    const plan = planned(
      world({
        jobs: [job("pets-v1-a1", { meta: { annotations } })],
        pods: [pod({ job: "pets-v1-a1", running: true })],
      }),
    );
    expect(effects(plan)).toEqual([]);
    expect(plan.status).toMatchObject({
      attempt: 1,
      threads: 7,
      attempts: [{ cpu: "7", memory: "9Gi", gpus: 1, state: "Running", placement: "sha256:old" }],
    });
  });

  test("a failed Job of that name and owner in another namespace is nobody's: ours runs on", () => {
    const forged = job("pets-v1-a1", { conditions: failed() });
    const elsewhere = { ...forged, metadata: { ...forged.metadata, namespace: "evil" } };
    const own = job("pets-v1-a1", { meta: { uid: "uid-own" } });
    const jobs = [elsewhere, own];
    const plan = planned(
      world({
        status: running(),
        jobs,
        pods: [pod({ job: "pets-v1-a1", jobUid: "uid-own", running: true })],
      }),
    );
    expect([ready(plan), effects(plan)]).toEqual(["Unknown Training", []]);
    expect(plan.status.attempts?.[0]).toMatchObject({ state: "Running", jobUid: "uid-own" });
    const alone = planned(world({ jobs: [elsewhere] }));
    expect(effects(alone)).toEqual(["create pets-v1-a1"]);
  });

  test("a Job of that name with another owner is no Job of ours, and a conflict", () => {
    const foreign = job("pets-v1-a1", {
      owner: { kind: "ModelVersion", name: "pets-v1", uid: "other" },
    });
    expect(effects(planned(world({ jobs: [foreign] })))).toEqual(["create pets-v1-a1"]);
    const plan = planned(
      world({
        jobs: [foreign],
        refusals: [
          {
            kind: "Job",
            name: "pets-v1-a1",
            reason: "NameConflict",
            message: "a Job pets-v1-a1 exists",
          },
        ],
      }),
    );
    expect([ready(plan), effects(plan)]).toEqual(["False NameConflict", []]);
    // Once the name is free, it goes on.
    expect(effects(planned(world({ status: plan.status })))).toEqual(["create pets-v1-a1"]);
  });

  test.each([
    ["QuotaExceeded", "Job", "QuotaExceeded"],
    ["AccessDenied", "Job", "AccessDenied"],
    ["AdmissionDenied", "PersistentVolumeClaim", "StoreNotReady"],
  ] as const)("refused with %s for a %s: it waits, and says so", (reason, kind, wantReason) => {
    const plan = planned(
      world({ refusals: [{ kind, name: "x", reason, message: "refused: why" }] }),
    );
    expect(ready(plan)).toBe(`Unknown ${wantReason}`);
    expect(plan.nextMs).toBeGreaterThan(0);
    expect(plan.status.attempts).toEqual([]);
  });

  test("at most one version of a model trains", () => {
    const plan = planned(world({ siblingJobs: [job("pets-v2-a1")] }));
    expect([effects(plan), ready(plan)]).toEqual([[], "Unknown Queued"]);
    expect(
      effects(planned(world({ siblingJobs: [job("pets-v2-a1", { conditions: failed() })] }))),
    ).toEqual(["create pets-v1-a1"]);
  });

  test("a version whose model is gone, or another one of that name, is left to the garbage collector", () => {
    expect(planVersion(world({ model: undefined }))).toEqual({ effects: [], events: [] });
    expect(planVersion(world({ model: wanting({ meta: { uid: "new" } }) }))).toEqual({
      effects: [],
      events: [],
    });
  });
});

describe("waiting for a pod", () => {
  const waiting = (pods: Pod[], events: Event[] = [], jobs: Job[] = [job("pets-v1-a1")]) =>
    planned(world({ status: running({ state: "Pending" }), jobs, pods, events }));

  test.each<[string, () => ReturnType<typeof waiting>, string, RegExp]>([
    [
      "no node",
      () =>
        waiting([
          pod({
            job: "pets-v1-a1",
            unschedulable: "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
          }),
        ]),
      "Unschedulable",
      /0\/3 nodes.*gpu/,
    ],
    [
      "image, first",
      () =>
        waiting([
          pod({ job: "pets-v1-a1", waiting: { reason: "ErrImagePull", message: "not found" } }),
        ]),
      "ImagePullFailed",
      /not found/,
    ],
    [
      "image, then",
      () =>
        waiting([
          pod({
            job: "pets-v1-a1",
            waiting: {
              reason: "ImagePullBackOff",
              message: 'Back-off pulling image "x": ErrImagePull: not found',
            },
          }),
        ]),
      "ImagePullFailed",
      /cannot be pulled: not found/,
    ],
    [
      "configuration",
      () =>
        waiting([
          pod({
            job: "pets-v1-a1",
            waiting: { reason: "CreateContainerConfigError", message: "secret missing" },
          }),
        ]),
      "ContainerConfigError",
      /secret missing/,
    ],
    [
      "volume",
      () =>
        waiting(
          [pod({ job: "pets-v1-a1" })],
          [{ involvedObject: {}, reason: "FailedMount", message: "claim not bound" }],
        ),
      "VolumeMountFailed",
      /claim not bound/,
    ],
    [
      "quota",
      () =>
        waiting(
          [],
          [
            {
              involvedObject: {},
              reason: "FailedCreate",
              message: 'Error creating: pods "x" is forbidden: exceeded quota: small',
            },
          ],
        ),
      "QuotaExceeded",
      /exceeded quota: small/,
    ],
    [
      "admission",
      () =>
        waiting(
          [],
          [
            {
              involvedObject: {},
              reason: "FailedCreate",
              message: 'Error creating: pods "x" is forbidden: violates PodSecurity',
            },
          ],
        ),
      "AdmissionDenied",
      /PodSecurity/,
    ],
    ["a queue", () => waiting([], [], [job("pets-v1-a1", { suspend: true })]), "Queued", /queue/],
  ])("%s: named, not stalled, and looked at again", (_, plan, reason, text) => {
    const seen = plan();
    expect(ready(seen)).toBe(`Unknown ${reason}`);
    expect(message(seen)).toMatch(text);
    expect(seen.effects).toEqual([]);
    expect(seen.nextMs).toBeLessThanOrEqual(30_000);
    expect(seen.status.attempts?.[0]).toMatchObject({ state: "Pending", reason });
  });

  test("an attempt with no started pod is replaced at once when its placement changes", () => {
    const given = {
      status: running({ state: "Pending", startedAt: undefined, reason: "Unschedulable" }),
      model: wanting({ spec: { scheduling: { nodeSelector: { zone: "b" } } } }),
    };
    const pending = pod({ job: "pets-v1-a1", unschedulable: "no" });
    const stopping = stoppedFrom({ ...given, jobs: [job("pets-v1-a1")], pods: [pending] });
    expect(effects(stopping)).toEqual(["delete pets-v1-a1 uid-pets-v1-a1 foreground"]);
    expect(ready(stopping)).toBe("Unknown Stopping");
    // The Job is gone, its pod is not: the next one waits.
    const left = planned(world({ ...given, status: stopping.status, pods: [pending] }));
    expect(effects(left)).toEqual([]);
    const stopped = planned(world({ ...given, status: left.status }));
    expect(stopped.status.attempts).toMatchObject([{ state: "Stopped", counted: false }]);
    const next = planned(world({ ...given, status: stopped.status, now: at(201) }));
    expect(effects(next)).toEqual(["create pets-v1-a2"]);
    expect(next.status.countedAttempts).toBe(0);
  });

  test("an attempt that its queue took back has not started: a changed placement replaces it at once", () => {
    const suspended = job("pets-v1-a1", { suspend: true });
    const ending = pod({ job: "pets-v1-a1", running: true });
    const leaving = planned(world({ status: running(), jobs: [suspended], pods: [ending] }));
    expect(ready(leaving)).toBe("Unknown Preempted");
    expect(effects(leaving)).toEqual([]);
    const back = planned(world({ status: leaving.status, jobs: [suspended] }));
    expect(ready(back)).toBe("Unknown Queued");
    const [attempt] = back.status.attempts ?? [];
    expect(attempt).toMatchObject({ number: 1, state: "Pending", reason: "Queued" });
    expect([attempt?.startedAt, attempt?.node]).toEqual([undefined, undefined]);
    const stopping = stoppedFrom({
      status: back.status,
      model: wanting({ spec: { scheduling: { queueName: "other" } } }),
      jobs: [suspended],
    });
    expect(effects(stopping)).toEqual(["delete pets-v1-a1 uid-pets-v1-a1 foreground"]);
    // Admitted instead, it runs on as the same attempt.
    const again = planned(
      world({ status: back.status, jobs: [job("pets-v1-a1")], pods: [ending] }),
    );
    expect(again.status.attempts).toMatchObject([{ number: 1, state: "Running" }]);
    expect(again.status.attempts?.[0]?.reason).toBeUndefined();
  });

  test("an image that cannot be pulled is replaced when the installation names another", () => {
    const pending = pod({ job: "pets-v1-a1", waiting: { reason: "ErrImagePull", message: "no" } });
    const given = {
      status: running({ state: "Pending", startedAt: undefined, reason: "ImagePullFailed" }),
      jobs: [job("pets-v1-a1", { image: "broken" })],
      pods: [pending],
    };
    expect(effects(stoppedFrom(given))).toEqual(["delete pets-v1-a1 uid-pets-v1-a1 foreground"]);
  });
});

describe("running", () => {
  const runningPod = pod({ job: "pets-v1-a1", running: true });

  test("is shown with node, image and start", () => {
    const plan = planned(
      world({
        status: running({ state: "Pending" }),
        jobs: [job("pets-v1-a1")],
        pods: [runningPod],
      }),
    );
    expect(ready(plan)).toBe("Unknown Training");
    expect(plan.status.attempts).toMatchObject([
      {
        state: "Running",
        node: "node-1",
        image: expect.stringContaining("sha256:"),
        jobUid: "uid-pets-v1-a1",
      },
    ]);
  });

  test("is left alone when resources change, and says so", () => {
    const plan = planned(
      world({
        status: running(),
        model: wanting({ spec: { resources: { memory: "8Gi" } } }),
        jobs: [job("pets-v1-a1")],
        pods: [runningPod],
      }),
    );
    expect(plan.effects).toEqual([]);
    expect(message(plan)).toMatch(/next attempt/);
  });

  test("an upgrade of the trainer image leaves it alone", () => {
    const plan = planned(
      world({
        status: running(),
        jobs: [job("pets-v1-a1", { image: "older" })],
        pods: [runningPod],
      }),
    );
    expect(plan.effects).toEqual([]);
  });

  test("is not believed to have ended on an interim condition, nor while a pod is left", () => {
    const interim = job("pets-v1-a1", { conditions: [{ type: "FailureTarget" }] });
    expect(ready(planned(world({ status: running(), jobs: [interim], pods: [runningPod] })))).toBe(
      "Unknown Training",
    );
    const early = job("pets-v1-a1", { conditions: failed() });
    expect(ready(planned(world({ status: running(), jobs: [early], pods: [runningPod] })))).toBe(
      "Unknown Stopping",
    );
  });

  test("still runs in the moment between its pod's end and its Job's", () => {
    const ended = pod({ job: "pets-v1-a1", exit: { code: 0 } });
    const plan = planned(world({ status: running(), jobs: [job("pets-v1-a1")], pods: [ended] }));
    expect([ready(plan), plan.effects]).toEqual(["Unknown Training", []]);
  });

  test("a pod whose node is lost: no second one beside it, and what to do", () => {
    const dying = (seconds: number) =>
      pod({ job: "pets-v1-a1", running: true, meta: { deletionTimestamp: at(200 - seconds) } });
    const given = { status: running(), jobs: [job("pets-v1-a1")] };
    expect(ready(planned(world({ ...given, pods: [dying(10)] })))).toBe("Unknown Training");
    const lost = planned(world({ ...given, pods: [dying(90)] }));
    expect([ready(lost), lost.effects]).toEqual(["Unknown PodLost", []]);
    expect(message(lost)).toMatch(/node-1.*--force/);
    expect(lost.status.attempts).toMatchObject([{ state: "Running" }]);
    // Its Job is being deleted: nothing else would make us look again.
    const going = {
      status: running(),
      jobs: [job("pets-v1-a1", { meta: { deletionTimestamp: T0 } })],
    };
    expect(planned(world({ ...going, pods: [dying(10)] })).nextMs).toBe(30_000);
    expect(ready(planned(world({ ...going, pods: [dying(90)] })))).toBe("Unknown PodLost");
  });

  test("nothing reported for two minutes is shown, and changes nothing else", () => {
    const given = { status: running(), jobs: [job("pets-v1-a1")], pods: [runningPod] };
    const soon = planned(world({ ...given, now: at(129) }));
    expect(condition(soon.status, "ProgressStale")).toBeUndefined();
    expect(soon.nextMs).toBe(1000);
    const stale = planned(world({ ...given, now: at(130) }));
    expect(condition(stale.status, "ProgressStale")?.reason).toBe("NoProgressReported");
    expect(ready(stale)).toBe("Unknown Training");
    expect(stale.effects).toEqual([]);
  });

  test("a pod that comes back after a long wait in a queue is not silent before it could speak", () => {
    const told = planned(
      world({
        status: running(),
        jobs: [job("pets-v1-a1")],
        pods: [runningPod],
        mails: [
          {
            podUid: runningPod.metadata.uid,
            receivedAt: at(20),
            report: {
              task: "train",
              uid: "uid-pets-v1",
              attempt: 1,
              sequence: 1,
              event: { type: "phase", phase: "loading" },
            },
          },
        ],
      }),
    ).status;
    expect(told.progress?.updatedAt).toBe(at(20));
    const [container] = runningPod.status?.containerStatuses ?? [];
    const back = {
      ...runningPod,
      metadata: { ...runningPod.metadata, uid: "uid-second" },
      status: {
        ...runningPod.status,
        containerStatuses: [
          { name: container?.name ?? "", state: { running: { startedAt: at(9000) } } },
        ],
      },
    };
    const given = { status: told, jobs: [job("pets-v1-a1")], pods: [back] };
    const soon = planned(world({ ...given, now: at(9010) }));
    expect(condition(soon.status, "ProgressStale")).toBeUndefined();
    expect(soon.nextMs).toBe(110_000);
    const stale = planned(world({ ...given, now: at(9120) }));
    expect(condition(stale.status, "ProgressStale")?.message).toContain(at(9000));
  });
});

describe("suspend and supersede", () => {
  const given = { jobs: [job("pets-v1-a1")], pods: [pod({ job: "pets-v1-a1", running: true })] };

  test.each([
    ["Suspended", wanting({ spec: { suspend: true } })],
    ["Superseded", wanting({ wanted: "pets-v2" })],
  ] as const)(
    "%s: the Job is deleted, the attempt is not counted, and resuming is another attempt",
    (reason, why) => {
      const stopping = stoppedFrom({ ...given, status: running(), model: why });
      expect(effects(stopping)).toEqual(["delete pets-v1-a1 uid-pets-v1-a1 foreground"]);
      const going = job("pets-v1-a1", { meta: { deletionTimestamp: T0 } });
      expect(
        effects(planned(world({ ...given, jobs: [going], status: stopping.status, model: why }))),
      ).toEqual([]);
      const stopped = planned(world({ status: stopping.status, model: why }));
      expect(ready(stopped)).toBe(`False ${reason}`);
      expect(stopped.status).toMatchObject({
        attempts: [{ state: "Stopped", reason, counted: false }],
        countedAttempts: 0,
      });
      const still = planned(world({ status: stopped.status, model: why, now: at(999) }));
      expect([still.effects, still.status]).toEqual([[], stopped.status]);
      const resumed = planned(world({ status: stopped.status }));
      expect(effects(resumed)).toEqual(["create pets-v1-a2"]);
      expect(resumed.status.countedAttempts).toBe(0);
    },
  );

  test("only what has a checkpoint is said to go on from it", () => {
    const going = { reason: "Stopping" as const };
    const checkpoint = { epoch: 1, step: 19, savedAt: at(20) };
    const said = [{}, { checkpoint }].flatMap((status) => [
      ...[wanting({ spec: { suspend: true } }), wanting({ wanted: "pets-v2" })].map((of) =>
        message(planned(world({ status: running(going, status), model: of }))),
      ),
      message(endedBy({ exit: { code: 143 } }, { status: running({}, status) })),
    ]);
    expect(said).toEqual([
      "spec.suspend of its DeepModel is true",
      "its DeepModel wants another version",
      expect.stringMatching(/^attempt 1 was stopped from outside; attempt 2 follows at /),
      "spec.suspend of its DeepModel is true; the next attempt goes on from the last checkpoint",
      "its DeepModel wants another version; if this one is wanted again it goes on from the last checkpoint",
      expect.stringMatching(/outside; attempt 2 goes on from its checkpoint at /),
    ]);
  });

  test.each([
    ["SIGKILL", { code: 137 }],
    ["a signal that a wrapper made a crash of", { code: 1 }],
    ["too much memory for its checkpoint", { code: 137, reason: "OOMKilled" }],
  ])("a stop that ends with %s is a stop, and not counted", (_, exit) => {
    const suspended = wanting({ spec: { suspend: true } });
    const before = running({ reason: "Stopping" }, { countedAttempts: 2 });
    const plan = endedBy({ exit }, { status: before, model: suspended });
    expect([ready(plan), plan.status.countedAttempts]).toEqual(["False Suspended", 2]);
    expect(plan.status.attempts).toMatchObject([{ state: "Stopped", counted: false }]);
    // Wanted again by now: the next attempt follows at once.
    const wanted = endedBy({ exit }, { status: before });
    expect(wanted.status).toMatchObject({ countedAttempts: 2, retryAt: at(200) });
    // The same where somebody else deleted the Job.
    const going = job("pets-v1-a1", { conditions: failed(), meta: { deletionTimestamp: T0 } });
    const outside = endedBy({ exit }, { status: running(), jobs: [going] });
    expect(outside.status).toMatchObject({ countedAttempts: 0, attempts: [{ state: "Stopped" }] });
  });

  test("a stop does not hide what the trainer itself says", () => {
    const exit = { code: 43, message: failedRecord("Diverged", "loss is not finite") };
    const plan = endedBy({ exit }, { status: running({ reason: "Stopping" }) });
    expect(ready(plan)).toBe("False Diverged");
  });

  test("the Job that we were about to delete is gone: stopped, and nothing is inspected", () => {
    const suspended = wanting({ spec: { suspend: true } });
    const told = planned(world({ ...given, status: running(), model: suspended }));
    const plan = planned(world({ status: told.status, model: suspended }));
    expect([ready(plan), effects(plan)]).toEqual(["False Suspended", []]);
  });

  test("a suspended version that has not begun says so and creates nothing", () => {
    const plan = planned(world({ model: wanting({ spec: { suspend: true } }) }));
    expect([ready(plan), effects(plan)]).toEqual(["False Suspended", []]);
  });

  test("one that ends well while it is being stopped is complete", () => {
    const plan = endedBy(
      { exit: { code: 0, message: publishedRecord() } },
      { model: wanting({ wanted: "pets-v2" }) },
    );
    expect(ready(plan)).toBe("True Trained");
  });

  test("the trainer's own stop at our signal is no failure", () => {
    const plan = endedBy({ exit: { code: 143 } }, { model: wanting({ spec: { suspend: true } }) });
    expect(ready(plan)).toBe("False Suspended");
    expect(plan.status.countedAttempts).toBe(0);
  });
});

describe("the end", () => {
  test("a published record completes the version, with its metrics", () => {
    const plan = endedBy({ exit: { code: 0, message: publishedRecord() } });
    expect(ready(plan)).toBe("True Trained");
    expect(plan.status).toMatchObject({
      artifact: { path: "shop/models/pets-uid-pets/v1/artifact" },
      metrics: { split: "test", values: { top1: 0.91 } },
      metric: "top1 0.910",
      bestEpoch: 3,
      progress: { display: "4/4 · 100%" },
      attempts: [{ state: "Succeeded", finishedAt: at(100) }],
    });
    // Settled: whatever becomes of its Job, nothing changes.
    const again = planned(world({ status: plan.status, now: at(9999) }));
    expect([again.effects, again.status, again.events]).toEqual([[], plan.status, []]);
  });

  test("the record says how the weights began, whether or not a report did", () => {
    const base = { loaded: 120, new: 2 };
    const end = { exit: { code: 0, message: publishedRecord({ more: { base } }) } };
    const plan = endedBy(end);
    expect(plan.status.base).toEqual(base);
    const again = planned(world({ status: plan.status, now: at(9999) }));
    expect(again.status.base).toEqual(base);
    const reported = endedBy(end, { status: { ...running(), base: { loaded: 1, new: 1 } } });
    expect(reported.status.base).toEqual(base);
  });

  test("the record says what was gated; it stays, and takes room from the worst concepts", () => {
    const gated = Array.from({ length: 16 }, (_, i) => ({
      concept: i % 2,
      metric: "ap" as const,
      value: 1 / (i + 3),
    }));
    const concepts = Array.from({ length: 50 }, (_, i) => ({
      concept: `concept ${i}`,
      ap: 0.1234,
      support: 1,
    }));
    const end = (more: object) => ({ exit: { code: 0, message: publishedRecord({ more }) } });
    const status = running({}, { concepts });
    const plan = endedBy(end({ gated }), { status });
    expect(plan.status.gated?.[1]).toEqual({ concept: "dog", metric: "ap", value: 0.25 });
    const again = planned(world({ status: plan.status, now: at(9999) }));
    expect(again.status).toEqual(plan.status);
    const without = endedBy(end({}), { status }).status;
    expect(without.gated).toBeUndefined();
    expect(plan.status.concepts?.length).toBeLessThan(without.concepts?.length ?? 0);
  });

  test.each([
    ["another version's", publishedRecord({ uid: "uid-other" })],
    ["another attempt's", publishedRecord({ attempt: 2 })],
    ["other inputs'", publishedRecord({ inputsHash: `sha256:${"0".repeat(64)}` })],
    ["no JSON", "Traceback (most recent call last)"],
    ["none", undefined],
    ["a failure's", failedRecord("TrainingFailed")],
  ])("exit 0 with a record that is %s: inspected, never believed", (_, text) => {
    const plan = endedBy({ exit: { code: 0, ...(text === undefined ? {} : { message: text }) } });
    expect(effects(plan)).toEqual(["create pets-v1-a1-inspect"]);
    expect(plan.status.artifact).toBeUndefined();
  });

  const inspection = (message: string, code = 0) =>
    endedBy(
      { exit: { code: 0 } },
      {
        jobs: [
          job("pets-v1-a1", { conditions: complete }),
          job("pets-v1-a1-inspect", { conditions: code === 0 ? complete : failed() }),
        ],
        pods: [
          pod({ job: "pets-v1-a1", exit: { code: 0 } }),
          pod({ job: "pets-v1-a1-inspect", exit: { code, message } }),
        ],
      },
    );

  test("an inspection repeats the record, or finds that there is nothing", () => {
    expect(ready(inspection(publishedRecord()))).toBe("True Trained");
    const nothing = inspection(failedRecord("ArtifactMissing", "no manifest"), 42);
    expect(ready(nothing)).toBe("False ArtifactMissing");
    expect(message(nothing)).toContain("no manifest");
  });

  test("a Job that somebody deleted is inspected, then repeated if it had published nothing", () => {
    const gone = planned(world({ status: running() }));
    expect(effects(gone)).toEqual(["create pets-v1-a1-inspect"]);
    const nothing = planned(
      world({
        status: gone.status,
        jobs: [job("pets-v1-a1-inspect", { conditions: failed() })],
        pods: [
          pod({
            job: "pets-v1-a1-inspect",
            exit: { code: 42, message: failedRecord("ArtifactMissing") },
          }),
        ],
      }),
    );
    expect(ready(nothing)).toBe("Unknown RetryingAfterFailure");
    expect(nothing.status).toMatchObject({ countedAttempts: 1, attempts: [{ reason: "PodLost" }] });
  });

  test("non-zero after a good record is failed, and not published", () => {
    const plan = endedBy({ exit: { code: 1, message: publishedRecord() } });
    expect(ready(plan)).toBe("Unknown RetryingAfterFailure");
    expect(plan.status.artifact).toBeUndefined();
  });

  test.each([
    [
      "the end of its log",
      "Traceback (most recent call last):\n  File x\nRuntimeError: \u0007the driver is too old\n",
      /exit code 1; its last words: RuntimeError: the driver is too old(;|$)/,
    ],
    ["a record that is cut", '{"uid":"u', /exit code 1(;|$)/],
    ["nothing", "\n", /exit code 1(;|$)/],
    ["a long line", "x".repeat(2000), /its last words: x{239}…/],
    [
      "an address with secrets",
      "GET https://me:pw@data.test/a.zip?sig=hidden#x failed",
      /last words: GET https:\/\/data\.test\/a\.zip failed(;|$)/,
    ],
  ])("a crash that left %s instead of a record is told by its last line", (_, text, want) => {
    const plan = endedBy({ exit: { code: 1, message: text } });
    expect(message(plan)).toMatch(want);
    expect(plan.status.attempts?.[0]?.message).toMatch(want);
    expect(message(plan)).toMatch(/1 of 3 counted attempts/);
  });

  test.each<[string, Parameters<typeof endedBy>[0], string, RegExp]>([
    [
      "out of memory",
      { exit: { code: 137, reason: "OOMKilled" } },
      "OutOfMemory",
      /4Gi.*\/dev\/shm.*1 GiB.*spec\.resources\.memory/,
    ],
    [
      "deadline",
      { conditions: failed("DeadlineExceeded"), podGone: true, exit: { code: 143 } },
      "DeadlineExceeded",
      /spec\.activeDeadlineSeconds/,
    ],
    [
      "exit 42",
      { exit: { code: 42, message: failedRecord("ConceptUnknown", "no such concept") } },
      "ConceptUnknown",
      /no such concept/,
    ],
    [
      "concepts that overlap",
      {
        exit: { code: 42, message: failedRecord("ConceptsOverlap", "some have several: set it.") },
      },
      "ConceptsOverlap",
      /^attempt 1: some have several: set it; name concepts in spec\.concepts that exclude/,
    ],
    [
      "exit 43",
      { exit: { code: 43, message: failedRecord("Diverged", "loss is not finite; try 0.025") } },
      "Diverged",
      /try 0\.025/,
    ],
    ["exit 42 without a record", { exit: { code: 42 } }, "InputInvalid", /input/],
  ])("%s: failed at once, with the cure", (_, how, reason, text) => {
    const plan = endedBy(how);
    expect(ready(plan)).toBe(`False ${reason}`);
    expect(condition(plan.status, "Stalled")?.status).toBe("True");
    expect(message(plan)).toMatch(text);
    expect(plan.effects).toEqual([]);
    const again = planned(world({ status: plan.status, now: at(9999) }));
    expect([again.effects, again.status]).toEqual([[], plan.status]);
  });

  test.each<[string, Parameters<typeof endedBy>[0], string]>([
    ["a crash", { exit: { code: 1 } }, "TrainingFailed"],
    ["a kill", { exit: { code: 137 } }, "PodLost"],
    ["a pod that is gone", { podGone: true }, "PodLost"],
    [
      "a full disk",
      { exit: { code: 1, message: failedRecord("DiskFull", "/output: 0 bytes left") } },
      "DiskFull",
    ],
  ])("%s is tried again after 10 s, and counted", (_, how, reason) => {
    const plan = endedBy(how);
    expect(ready(plan)).toBe("Unknown RetryingAfterFailure");
    expect(message(plan)).toContain(reason);
    expect(plan.status).toMatchObject({
      countedAttempts: 1,
      retryAt: at(210),
      attempts: [{ state: "Failed", reason, counted: true }],
    });
    expect(plan.nextMs).toBe(10_000);
    expect(effects(planned(world({ status: plan.status, now: at(209) })))).toEqual([]);
    const next = planned(world({ status: plan.status, now: at(210) }));
    expect(effects(next)).toEqual(["create pets-v1-a2"]);
    expect(next.status.retryAt).toBeUndefined();
  });

  test("the third counted failure is the last; the pauses grow", () => {
    let status: ModelVersionStatus = endedBy({ exit: { code: 1 } }).status;
    const pauses: number[] = [];
    let now = 200;
    for (let number = 2; number <= 3; number += 1) {
      pauses.push((Date.parse(status.retryAt ?? "") - Date.parse(at(now))) / 1000);
      now += 1000;
      status = planned(world({ status, now: at(now) })).status;
      const name = `pets-v1-a${number}`;
      status = planned(
        world({
          status,
          now: at(now),
          jobs: [job(name, { conditions: failed() })],
          pods: [pod({ job: name, exit: { code: 1 } })],
        }),
      ).status;
    }
    expect(pauses).toEqual([10, 60]);
    expect(ready({ status })).toBe("False TrainingFailed");
    expect(status.countedAttempts).toBe(3);
    expect(message({ status })).toContain("deeptrain.dev/retry");
  });

  test("a preempted pod goes on without being counted", () => {
    const plan = endedBy({ exit: { code: 143 } });
    expect(ready(plan)).toBe("Unknown RetryingAfterFailure");
    expect(plan.status).toMatchObject({
      countedAttempts: 0,
      attempts: [{ state: "Stopped", reason: "Preempted" }],
    });
  });

  test("pods that never come together are tried again for ever, ever more slowly", () => {
    let status: ModelVersionStatus | undefined;
    const pauses: number[] = [];
    for (let number = 1; number <= 5; number += 1) {
      const now = at(1000 * number);
      const name = `pets-v1-a${number}`;
      if (status !== undefined) status = planned(world({ status, now })).status;
      const plan = planned(
        world({
          status: status ?? running(),
          now,
          jobs: [job(name, { conditions: failed() })],
          pods: [pod({ job: name, exit: { code: 45 } })],
        }),
      );
      expect(ready(plan)).toBe("Unknown RetryingAfterFailure");
      expect(message(plan)).toContain("did not all come together in time");
      expect(condition(plan.status, "Stalled")).toBeUndefined();
      status = plan.status;
      pauses.push((Date.parse(status.retryAt ?? "") - Date.parse(now)) / 1000);
    }
    expect(pauses).toEqual([10, 60, 300, 300, 300]);
    expect(status).toMatchObject({ countedAttempts: 0 });
    expect(status?.attempts?.at(-1)).toMatchObject({
      state: "Stopped",
      reason: "RendezvousTimedOut",
    });
  });
});

describe("cure and retry", () => {
  const oom = endedBy({ exit: { code: 137, reason: "OOMKilled" } }).status;

  test("more memory gives a failed version another attempt, at once", () => {
    const cured = world({
      status: oom,
      model: wanting({ spec: { resources: { memory: "8Gi" } } }),
    });
    const plan = planned(cured);
    expect(effects(plan)).toEqual(["create pets-v1-a2"]);
    expect(plan.status).toMatchObject({ countedAttempts: 0, threads: 2 });
    expect(plan.status.attempts?.at(-1)).toMatchObject({
      memory: "8Gi",
      placement: placementDigest(placementOf(cured.model?.spec ?? model().spec)),
    });
  });

  test("a retry annotation does, once for each value", () => {
    const asked = (value: string) =>
      wanting({ meta: { annotations: { "deeptrain.dev/retry": value } } });
    const plan = planned(world({ status: oom, model: asked("1") }));
    expect(effects(plan)).toEqual(["create pets-v1-a2"]);
    expect(plan.status.lastHandledRetry).toBe("1");
    const failedAgain = planned(
      world({
        status: plan.status,
        model: asked("1"),
        jobs: [job("pets-v1-a2", { conditions: failed() })],
        pods: [pod({ job: "pets-v1-a2", exit: { code: 42 } })],
      }),
    );
    expect(ready(failedAgain)).toBe("False InputInvalid");
    expect(effects(planned(world({ status: failedAgain.status, model: asked("1") })))).toEqual([]);
    expect(effects(planned(world({ status: failedAgain.status, model: asked("2") })))).toEqual([
      "create pets-v1-a3",
    ]);
  });

  test("a retry shortens a pause", () => {
    const waiting = endedBy({ exit: { code: 1 } }).status;
    const plan = planned(
      world({
        status: waiting,
        model: wanting({ meta: { annotations: { "deeptrain.dev/retry": "now" } } }),
      }),
    );
    expect(effects(plan)).toEqual(["create pets-v1-a2"]);
  });

  test("an annotation that was there before the version was made asks for nothing", () => {
    const old = wanting({
      meta: { annotations: { "deeptrain.dev/retry": "1" } },
      status: { lastHandledRetry: "1" },
    });
    expect(effects(planned(world({ status: oom, model: old })))).toEqual([]);
  });

  test("a value that another version heard asks for nothing when one goes back", () => {
    const back = wanting({
      meta: { annotations: { "deeptrain.dev/retry": "b" } },
      status: { lastHandledRetry: "b" },
    });
    const plan = planned(world({ status: { ...oom, lastHandledRetry: "a" }, model: back }));
    expect([effects(plan), ready(plan)]).toEqual([[], "False OutOfMemory"]);
    expect(plan.status.countedAttempts).toBe(oom.countedAttempts);
    const asked = wanting({
      meta: { annotations: { "deeptrain.dev/retry": "c" } },
      status: { lastHandledRetry: "b" },
    });
    expect(
      effects(planned(world({ status: { ...oom, lastHandledRetry: "a" }, model: asked }))),
    ).toEqual(["create pets-v1-a2"]);
  });

  test("nothing is begun while a pod of the attempt before is left", () => {
    const stuck = pod({ job: "pets-v1-a1", running: true });
    const cured = wanting({ spec: { resources: { memory: "8Gi" } } });
    const plan = planned(world({ status: oom, model: cured, pods: [stuck] }));
    expect([effects(plan), ready(plan)]).toEqual([[], "Unknown Stopping"]);
    expect(plan.nextMs).toBeGreaterThan(0);
    // It is still to be cured once the pod is gone.
    expect(effects(planned(world({ status: plan.status, model: cured })))).toEqual([
      "create pets-v1-a2",
    ]);
  });

  test("the last eight attempts are kept", () => {
    const attempts = Array.from({ length: 8 }, (_, i) =>
      attempt({ number: i + 1, job: `pets-v1-a${i + 1}`, state: "Stopped" }),
    );
    const plan = planned(world({ status: { ...running(), attempt: 8, attempts } }));
    expect(plan.status.attempts?.map(({ number }) => number)).toEqual([2, 3, 4, 5, 6, 7, 8, 9]);
  });
});

describe("several nodes", () => {
  const several = (resources: object, accessModes = ["ReadWriteMany"]) =>
    planned(
      world({
        model: wanting({ spec: { resources } }),
        claim: { ...claim, spec: { accessModes } },
      }),
    );

  test("their Service and their NetworkPolicy come before their Job", () => {
    expect(effects(several({ nodes: 2 }))).toEqual([
      "create pets-v1",
      "create pets-v1",
      "create pets-v1-a1",
    ]);
    expect(effects(several({}))).toEqual(["create pets-v1-a1"]);
  });

  test("with GPUs they need a store that all nodes can mount", () => {
    const refused = several({ nodes: 2, gpus: 1 }, ["ReadWriteOnce"]);
    expect(refused.effects).toEqual([]);
    expect(ready(refused)).toBe("Unknown StoreNotShared");
    expect(message(refused)).toMatch(/spec.resources.nodes.*ReadWriteMany/);
    // Without GPUs all pods go to one node, where such a store does.
    expect(effects(several({ nodes: 2 }, ["ReadWriteOnce"]))).toHaveLength(3);
  });
});
