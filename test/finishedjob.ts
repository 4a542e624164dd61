// Finishes a Job as a kubelet and the Job controller would, without either: the pod's termination message and the Job's
// condition, written to the API server.

import { z } from "zod";
import { annotation } from "../api/group.ts";
import type { RunRecord } from "../api/record.ts";
import { RunFile } from "../api/run.ts";
import type { Client } from "../operator/runtime/client.ts";
import type { KubeObject } from "../operator/runtime/object.ts";
import { jobResource, podResource } from "./e2e/objects.ts";

const JobTemplate = z.looseObject({
  template: z.looseObject({
    metadata: z.looseObject({
      labels: z.record(z.string(), z.string()),
      annotations: z.record(z.string(), z.string()),
    }),
    spec: z.looseObject({ containers: z.array(z.looseObject({ name: z.string() })).min(1) }),
  }),
});

/** What the pods of a Job are told. */
export const runOf = (job: KubeObject): RunFile => {
  const { template } = JobTemplate.parse(job.spec);
  return RunFile.parse(JSON.parse(template.metadata.annotations[annotation.run] ?? ""));
};

/** The Job's pod is created and has left the record; the Job is complete. */
export async function finishJob(client: Client, job: KubeObject, record: RunRecord): Promise<void> {
  const { template } = JobTemplate.parse(job.spec);
  const now = new Date().toISOString().replace(/\.\d+Z$/, "Z");
  const namespace = job.metadata.namespace ?? "";
  const name = `${job.metadata.name}-pod`;
  const { name: jobName, uid } = job.metadata;
  await client.create(podResource, {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace,
      ...template.metadata,
      ownerReferences: [
        { apiVersion: "batch/v1", kind: "Job", name: jobName, uid, controller: true },
      ],
    },
    // The admission plugin that fills it in needs the controller manager, which is not here.
    spec: { serviceAccountName: "default", ...template.spec },
  });
  const message = JSON.stringify(record);
  const terminated = { exitCode: 0, reason: "Completed", message, startedAt: now, finishedAt: now };
  const [container] = template.spec.containers;
  const containerStatuses = [
    {
      name: container?.name,
      image: "",
      imageID: "",
      ready: false,
      restartCount: 0,
      state: { terminated },
    },
  ];
  const podStatus = { phase: "Succeeded", containerStatuses };
  await client.patch(
    podResource,
    { namespace, name },
    { status: podStatus },
    { subresource: "status" },
  );
  const done = (type: string) => ({ type, status: "True", lastTransitionTime: now });
  const jobStatus = {
    startTime: now,
    completionTime: now,
    succeeded: 1,
    uncountedTerminatedPods: {},
    conditions: [done("SuccessCriteriaMet"), done("Complete")],
  };
  const jobAt = { namespace, name: jobName };
  await client.patch(jobResource, jobAt, { status: jobStatus }, { subresource: "status" });
}
