// Finishes a training as a kubelet and the Job controller would, without either: the pod's termination message and
// the Job's condition, written to the API server.

import { z } from "zod";
import { DeepModel } from "../../api/deepmodel.ts";
import { annotation } from "../../api/group.ts";
import type { TrainingRecord } from "../../api/record.ts";
import { TrainRun } from "../../api/run.ts";
import { until } from "../../demo/install.ts";
import { modelResource, versionResource } from "../../demo/live.ts";
import type { Client } from "../../operator/runtime/client.ts";
import type { KubeObject } from "../../operator/runtime/object.ts";
import { jobResource, podResource } from "../e2e/objects.ts";
import type { Bench } from "./bench.ts";
import type { Written } from "./ceiling.ts";

const JobTemplate = z.looseObject({
  template: z.looseObject({
    metadata: z.looseObject({
      labels: z.record(z.string(), z.string()),
      annotations: z.record(z.string(), z.string()),
    }),
    spec: z.looseObject({ containers: z.array(z.looseObject({ name: z.string() })).min(1) }),
  }),
});

/** Completes the Job of the first model, and resolves to what the operator then made of it. */
export async function finishOne(
  { client, namespace }: Bench,
  [first]: Written[],
): Promise<Written> {
  if (first === undefined) throw new Error("nothing was written");
  await finishJob(client, first.job);
  const name = { namespace, name: first.model.metadata.name };
  await until("the finished model is ready", 60_000, async () => {
    const { status } = DeepModel.parse(await client.get(modelResource, name));
    return status?.conditions?.some((c) => c.type === "Ready" && c.status === "True") ?? false;
  });
  const model = await client.get(modelResource, name);
  const version = await client.get(versionResource, {
    namespace,
    name: first.version.metadata.name,
  });
  if (model === undefined || version === undefined) throw new Error("the model is gone");
  return { ...first, model, version };
}

async function finishJob(client: Client, job: KubeObject): Promise<void> {
  const { template } = JobTemplate.parse(job.spec);
  const run = TrainRun.parse(JSON.parse(template.metadata.annotations[annotation.run] ?? ""));
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
  const message = JSON.stringify(recordOf(run));
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

const recordOf = (run: TrainRun): TrainingRecord => ({
  task: "train",
  uid: run.object.uid,
  attempt: run.attempt,
  outcome: "published",
  inputsHash: run.inputsHash,
  artifact: { path: "artifact", digest: `sha256:${"c".repeat(64)}`, bytes: 45_000_000 },
  metrics: { split: "test", items: 2000, values: { top1: 0.91, top5: 0.99, macro_f1: 0.9 } },
  epochs: 10,
  steps: 1880,
  bestEpoch: 9,
});
