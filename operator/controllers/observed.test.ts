import { expect, test } from "vitest";
import { Job, Pod } from "../plan/kubernetes.ts";
import { at, job as jobOf, pod as podOf } from "../plan/testing/gen.ts";
import { eventsOf } from "./observed.ts";

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
