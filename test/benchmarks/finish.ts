// A training that ends well, and what the operator makes of it.

import { DeepModel } from "../../api/deepmodel.ts";
import type { TrainingRecord } from "../../api/record.ts";
import { TrainRun } from "../../api/run.ts";
import { until } from "../../demo/install.ts";
import { modelResource, versionResource } from "../../demo/live.ts";
import { finishJob, runOf } from "../finishedjob.ts";
import type { Bench } from "./bench.ts";
import type { Written } from "./ceiling.ts";

/** Completes the Job of the first model, and resolves to what the operator then made of it. */
export async function finishOne(
  { client, namespace }: Bench,
  [first]: Written[],
): Promise<Written> {
  if (first === undefined) throw new Error("nothing was written");
  await finishJob(client, first.job, recordOf(TrainRun.parse(runOf(first.job))));
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
