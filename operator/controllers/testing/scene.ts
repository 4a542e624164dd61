// One scene of a test: a fake API server, a pretended kubelet, and one operator at a time.

import { expect } from "vitest";
import { DeepModel } from "../../../api/deepmodel.ts";
import { condition } from "../../plan/conditions.ts";
import type { FakeApiServer } from "../../runtime/testing/apiserver.ts";
import { eventually } from "../../runtime/testing/eventually.ts";
import { datasets, deepModels } from "../kinds.ts";
import { Kubelet, Operator, type OperatorOptions, startServer } from "./cluster.ts";

export const datasetManifest = {
  apiVersion: "deeptrain.dev/v1alpha1",
  kind: "Dataset",
  metadata: { name: "photos", namespace: "shop" },
  spec: { source: { http: { url: "http://data.test/photos.tar.gz" } }, format: "imageFolder" },
};

export const modelManifest = (spec: object, annotations: Record<string, string> = {}) => ({
  apiVersion: "deeptrain.dev/v1alpha1",
  kind: "DeepModel",
  metadata: { name: "pets", namespace: "shop", annotations },
  spec: {
    template: "visual-classifier/resnet18",
    datasetRef: { name: "photos" },
    hyperparameters: { num_epochs: 4, logreg: false, image_size: 32 },
    ...spec,
  },
});

const isReady = (server: FakeApiServer): boolean => {
  const { data } = DeepModel.safeParse(server.get(deepModels, "shop/pets"));
  return data !== undefined && condition(data.status, "Ready")?.status === "True";
};

/** A server, a kubelet, and one operator at a time. */
export class Scene {
  readonly server: FakeApiServer;
  readonly kubelet: Kubelet;
  operator: Operator | undefined;

  private constructor(server: FakeApiServer) {
    this.server = server;
    this.kubelet = new Kubelet(server, () => this.operator);
  }

  static async open(): Promise<Scene> {
    return new Scene(await startServer());
  }

  /** Starts an operator; the one before, if any, is stopped first. */
  async begin(options?: OperatorOptions): Promise<Operator> {
    await this.operator?.stop();
    this.operator = await Operator.start(this.server, options);
    return this.operator;
  }

  /** The model comes first: it waits for its data. */
  declare(): void {
    this.server.put(deepModels, modelManifest({}));
    this.server.put(datasets, datasetManifest);
  }

  untilReady(): Promise<void> {
    return eventually(() => isReady(this.server), 15_000);
  }

  async close(): Promise<void> {
    this.kubelet.stop();
    await this.operator?.stop();
    await this.server.stop();
  }
}

/** Resolves when nothing was written for a while; rejects where writing does not end. */
export const settled = async (server: FakeApiServer): Promise<void> => {
  let before = -1;
  for (let i = 0; i < 20 && before !== server.writes.length; i += 1) {
    before = server.writes.length;
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
  expect(server.writes.length, "settled").toBe(before);
};
