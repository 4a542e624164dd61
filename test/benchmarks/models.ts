// What the benchmark creates: a Dataset whose data are ready, and models that train on it.

import type { DatasetReport } from "../../api/dataset.ts";
import { API_VERSION } from "../../api/group.ts";
import { importInputsHash } from "../../api/inputs.ts";
import { applyObjects } from "../../demo/apply.ts";
import { datasetResource } from "../../demo/live.ts";
import type { Client } from "../../operator/runtime/client.ts";
import type { Manifest } from "../../operator/runtime/object.ts";

/** The Dataset of all benchmark models. */
export const DATASET = "photos";

const digest = (digit: string): string => `sha256:${digit.repeat(64)}`;

export const data: DatasetReport = {
  digest: digest("a"),
  splitDigest: digest("b"),
  items: { train: 12_000, validation: 1000, test: 2000 },
  concepts: ["bag", "coat", "dress"].map((name) => ({
    name,
    train: 4000,
    validation: 333,
    test: 666,
  })),
  invalid: 0,
  badItems: [],
  bytes: 20_000_000,
  warnings: [],
};

const source = { http: { url: "http://photos.example/photos.tar.gz" } };

/** Writes what a finished import would have written, so that no import has to run. */
export async function createReadyDataset(
  client: Client,
  namespace: string,
  name: string,
): Promise<void> {
  const spec = { source, format: "imageFolder" as const };
  await applyObjects(client, [
    { apiVersion: API_VERSION, kind: "Dataset", metadata: { name, namespace }, spec },
  ]);
  const dataInputsHash = importInputsHash(spec);
  const status = {
    data,
    dataInputsHash,
    import: { inputsHash: dataInputsHash, attempt: 1, counted: 0 },
  };
  await client.patch(datasetResource, { namespace, name }, { status }, { subresource: "status" });
}

export const benchmarkModel = (namespace: string, name: string, dataset: string): Manifest => ({
  apiVersion: API_VERSION,
  kind: "DeepModel",
  metadata: { namespace, name },
  spec: {
    template: "visual-classifier/resnet18",
    datasetRef: { name: dataset },
    hyperparameters: { logreg: false, num_epochs: 10 },
  },
});
