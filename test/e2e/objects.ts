// Reading our objects in tests: parsed by the contract's own schemas, and waited for with what was last seen in the
// error.

import { setTimeout as sleep } from "node:timers/promises";
import type { z } from "zod";
import type { Condition, ConditionType } from "../../api/conditions.ts";
import { Dataset } from "../../api/dataset.ts";
import { DeepModel } from "../../api/deepmodel.ts";
import { API_VERSION, label } from "../../api/group.ts";
import { ModelVersion } from "../../api/modelversion.ts";
import { datasetResource, modelResource, versionResource } from "../../demo/live.ts";
import type { KubeObject, Manifest } from "../../operator/runtime/object.ts";
import { type Resource, resource } from "../../operator/runtime/resource.ts";
import type { Environment } from "./environment.ts";

export const jobResource = resource("batch", "v1", "Job", "jobs");
export const podResource = resource("", "v1", "Pod", "pods");

export const datasetManifest = (name: string, source: object, spec: object = {}): Manifest => ({
  apiVersion: API_VERSION,
  kind: "Dataset",
  metadata: { name },
  spec: { source, format: "imageFolder", ...spec },
});

/** A model that trains in seconds on `dataset`. */
export const modelManifest = (name: string, dataset: string, spec: object = {}): Manifest => ({
  apiVersion: API_VERSION,
  kind: "DeepModel",
  metadata: { name },
  spec: {
    template: "visual-classifier/resnet18",
    datasetRef: { name: dataset },
    hyperparameters: quickHyperparameters,
    resources: { cpu: "1", memory: "2Gi" },
    ...spec,
  },
});

export const quickHyperparameters = {
  logreg: false,
  image_size: 32,
  num_epochs: 2,
  batch_size: 32,
} as const;

export interface Objects {
  dataset(name: string): Promise<Dataset | undefined>;
  model(name: string): Promise<DeepModel | undefined>;
  version(name: string): Promise<ModelVersion | undefined>;
  versions(): Promise<ModelVersion[]>;
  jobs(): Promise<KubeObject[]>;
  /** Pods of one version or dataset. */
  pods(of: { version: string } | { dataset: string }): Promise<KubeObject[]>;
  untilDataset(
    name: string,
    is: (dataset: Dataset) => boolean,
    timeoutMs?: number,
  ): Promise<Dataset>;
  untilModel(
    name: string,
    is: (model: DeepModel) => boolean,
    timeoutMs?: number,
  ): Promise<DeepModel>;
  untilVersion(
    name: string,
    is: (version: ModelVersion) => boolean,
    timeoutMs?: number,
  ): Promise<ModelVersion>;
}

export function objectsIn({ client }: Environment, namespace: string): Objects {
  const read = async <T>(of: Resource, schema: z.ZodType<T>, name: string) => {
    const object = await client.get(of, { namespace, name });
    return object === undefined ? undefined : schema.parse(object);
  };
  const until =
    <T>(of: Resource, schema: z.ZodType<T>) =>
    async (name: string, is: (object: T) => boolean, timeoutMs = 480_000): Promise<T> => {
      const deadline = performance.now() + timeoutMs;
      for (;;) {
        const object = await read(of, schema, name);
        if (object !== undefined && is(object)) return object;
        if (performance.now() > deadline) {
          throw new Error(
            `${of.kind} ${name} after ${timeoutMs / 1000} s: ${JSON.stringify(object, null, 1)}`,
          );
        }
        await sleep(200);
      }
    };
  const podsWith = async (labelSelector: string) => [
    ...(await client.listAll(podResource, { namespace, labelSelector })).items,
  ];
  return {
    dataset: (name) => read(datasetResource, Dataset, name),
    model: (name) => read(modelResource, DeepModel, name),
    version: (name) => read(versionResource, ModelVersion, name),
    versions: async () => {
      const { items } = await client.listAll(versionResource, { namespace });
      return items.map((item) => ModelVersion.parse(item));
    },
    jobs: async () => [...(await client.listAll(jobResource, { namespace })).items],
    pods: (of) =>
      "version" in of
        ? podsWith(`${label.version}=${of.version}`)
        : podsWith(`${label.dataset}=${of.dataset}`),
    untilDataset: until(datasetResource, Dataset),
    untilModel: until(modelResource, DeepModel),
    untilVersion: until(versionResource, ModelVersion),
  };
}

export interface WithConditions {
  metadata: { generation?: number | undefined };
  status?:
    | { conditions?: Condition[] | undefined; observedGeneration?: number | undefined }
    | undefined;
}

export const condition = (
  object: WithConditions | undefined,
  type: ConditionType,
): Condition | undefined => object?.status?.conditions?.find((c) => c.type === type);

/** True where the condition speaks of the newest spec. */
export const has = (
  object: WithConditions | undefined,
  type: ConditionType,
  status: Condition["status"],
  reason?: string,
): boolean => {
  const found = condition(object, type);
  return (
    found?.status === status &&
    found.observedGeneration === object?.metadata.generation &&
    (reason === undefined || found.reason === reason)
  );
};

export const isReady = (object: WithConditions): boolean => has(object, "Ready", "True");
export const isStalled = (object: WithConditions): boolean => has(object, "Stalled", "True");
