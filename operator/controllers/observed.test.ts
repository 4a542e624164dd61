import { expect, test } from "vitest";
import { Job, Pod } from "../plan/kubernetes.ts";
import { at, job as jobOf, pod as podOf } from "../plan/testing/gen.ts";
import { ApiError } from "../runtime/apierror.ts";
import { eventsOf, workloadOf } from "./observed.ts";

const gang = Job.parse({ ...jobOf("pets-v1-a1"), spec: { ...jobOf("x").spec, completions: 2 } });
const single = jobOf("pets-v1-a1");
const runs = podOf({ job: "pets-v1-a1", running: true });
const other = podOf({ job: "pets-v1-a1", meta: { uid: "uid-other" } });
const disrupted = Pod.parse({
  ...runs,
  status: { phase: "Failed", conditions: [{ type: "DisruptionTarget", status: "True" }] },
});

/** Whose events are read after so many seconds: UIDs. */
const asked = async (job: Job, pods: Pod[], seconds: number): Promise<string[]> => {
  const selectors: string[] = [];
  const client = {
    list: (_: unknown, options?: { fieldSelector?: string }) => {
      selectors.push(options?.fieldSelector ?? "");
      return Promise.resolve({ items: [], resourceVersion: "1", continueToken: "" });
    },
  };
  await eventsOf({ client, now: () => at(seconds) }, [job], pods);
  return selectors.map((each) => each.replace("involvedObject.uid=", ""));
};

test.each([
  ["a Job without a pod", single, [], ["uid-pets-v1-a1"]],
  ["a pod without a container", single, [other], ["uid-other"]],
  ["one pod of two", gang, [runs], ["uid-pets-v1-a1", runs.metadata.uid]],
  ["two pods, one behind", gang, [runs, other], [runs.metadata.uid, "uid-other"]],
  ["a pod to be replaced", single, [disrupted], ["uid-pets-v1-a1", disrupted.metadata.uid]],
])("events are read of what may tell why nothing happens: %s", async (_, job, pods, uids) => {
  expect(await asked(job, pods, 15)).toEqual(uids);
  expect(await asked(job, pods, 14)).toEqual([]);
});

test("no events are read of what runs", async () => {
  expect(await asked(single, [runs], 600)).toEqual([]);
  const both = [runs, podOf({ job: "pets-v1-a1", running: true, meta: { uid: "uid-other" } })];
  expect(await asked(gang, both, 600)).toEqual([]);
});

const queued = jobOf("pets-v1-a1", { suspend: true });
const inQueue: Job = {
  ...queued,
  metadata: { ...queued.metadata, labels: { "kueue.x-k8s.io/queue-name": "team-a" } },
};
/** What is made of Kueue's answer, and how often it was asked. */
const workloadFrom = async (job: Job, answer: () => unknown) => {
  const selectors: (string | undefined)[] = [];
  const client = {
    list: async (_: unknown, options?: { labelSelector?: string }) => {
      selectors.push(options?.labelSelector);
      const metadata = { name: "w", uid: "u", resourceVersion: "1" };
      const item = { apiVersion: "v1", kind: "Workload", metadata, status: answer() };
      return { items: [item], resourceVersion: "1", continueToken: "" };
    },
  };
  return { workload: await workloadOf({ client }, [job]), selectors };
};
const waiting = { conditions: [{ type: "QuotaReserved", status: "False", message: "no quota" }] };
const refusal = (code: number) => () => {
  throw new ApiError(code, "Refused", "no");
};

test("Kueue is asked about the Job that it has suspended, and about no other", async () => {
  const { workload, selectors } = await workloadFrom(inQueue, () => waiting);
  expect(selectors).toEqual(["kueue.x-k8s.io/job-uid=uid-pets-v1-a1"]);
  expect(workload?.status).toEqual(waiting);
  expect((await workloadFrom(queued, () => waiting)).selectors).toEqual([]);
  expect((await workloadFrom(single, () => waiting)).selectors).toEqual([]);
});

test.each([404, 403, 500])("a cluster that answers %d has nothing to tell", async (code) => {
  expect((await workloadFrom(inQueue, refusal(code))).workload).toBeUndefined();
});

test("what Kueue's next release may answer is nothing, and a broken connection is no answer", async () => {
  expect((await workloadFrom(inQueue, () => ({ conditions: 7 }))).workload).toBeUndefined();
  await expect(workloadFrom(inQueue, refusal(0))).rejects.toThrow("no");
});
