// Shows what happens to the demo's objects, a line for each change, until the model is ready or cannot become so.

import { setTimeout as sleep } from "node:timers/promises";
import type { Condition } from "../api/conditions.ts";
import { Dataset } from "../api/dataset.ts";
import { DeepModel } from "../api/deepmodel.ts";
import { GROUP, VERSION } from "../api/group.ts";
import type { Client } from "../operator/runtime/client.ts";
import { resource } from "../operator/runtime/resource.ts";

export const datasetResource = resource(GROUP, VERSION, "Dataset", "datasets");
export const modelResource = resource(GROUP, VERSION, "DeepModel", "deepmodels");
export const versionResource = resource(GROUP, VERSION, "ModelVersion", "modelversions");

const conditionOf = (conditions: Condition[] | undefined, type: Condition["type"]) =>
  conditions?.find((condition) => condition.type === type);

function datasetLine({ status }: Dataset): string {
  const ready = conditionOf(status?.conditions, "Ready");
  if (ready?.status === "True") return `Ready: ${status?.summary ?? ""}`;
  return ready === undefined ? "created" : `${ready.reason}: ${ready.message}`;
}

function modelLine({ status }: DeepModel): string {
  const ready = conditionOf(status?.conditions, "Ready");
  if (ready === undefined) return "created";
  if (ready.status === "True") return `Ready: ${status?.metric ?? ""}`;
  const { display, loss, imagesPerSecond } = status?.progress ?? {};
  if (ready.reason !== "Training" || display === undefined) {
    return `${ready.reason}: ${ready.message}`;
  }
  const numbers = [
    `epoch ${display}`,
    ...(loss === undefined ? [] : [`loss ${loss.toFixed(3)}`]),
    ...(imagesPerSecond === undefined ? [] : [`${Math.round(imagesPerSecond)} images/s`]),
    ...(status?.metric === undefined ? [] : [status.metric]),
  ];
  return numbers.join("  ");
}

/** True where waiting longer cannot help. */
const isStalled = (conditions: Condition[] | undefined): boolean =>
  conditionOf(conditions, "Stalled")?.status === "True";

/** Resolves to the model when it is ready. Throws with the status's own words where that cannot be any more. */
export async function watchUntilReady(
  client: Client,
  namespace: string,
  names: { dataset: string; model: string },
  say: (line: string) => void,
): Promise<DeepModel> {
  const shown = new Map<string, string>();
  const show = (what: string, line: string) => {
    if (shown.get(what) === line) return;
    shown.set(what, line);
    say(`${new Date().toLocaleTimeString("en-GB")}  ${what.padEnd(24)} ${line}`);
  };
  for (;;) {
    const [dataset, model] = await Promise.all([
      client.get(datasetResource, { namespace, name: names.dataset }),
      client.get(modelResource, { namespace, name: names.model }),
    ]);
    const data = Dataset.parse(dataset);
    const deep = DeepModel.parse(model);
    show(`dataset/${names.dataset}`, datasetLine(data));
    show(`deepmodel/${names.model}`, modelLine(deep));
    const isCurrent = deep.status?.observedGeneration === deep.metadata.generation;
    if (isCurrent && conditionOf(deep.status?.conditions, "Ready")?.status === "True") return deep;
    if (isStalled(data.status?.conditions)) throw new Error(`the dataset: ${datasetLine(data)}`);
    if (isCurrent && isStalled(deep.status?.conditions)) {
      throw new Error(`the model: ${modelLine(deep)}`);
    }
    await sleep(1000);
  }
}
