// Many models, each with three finished versions: what they cost an operator that starts and finds all settled.

import { setTimeout as sleep } from "node:timers/promises";
import { DeepModel } from "../../api/deepmodel.ts";
import { API_VERSION, label } from "../../api/group.ts";
import { ModelVersion } from "../../api/modelversion.ts";
import { modelResource, versionResource } from "../../demo/live.ts";
import { Client } from "../../operator/runtime/client.ts";
import { connect, loadConfiguration } from "../../operator/runtime/connection.ts";
import type { KubeObject } from "../../operator/runtime/object.ts";
import { apiRequests } from "./apirequests.ts";
import { type Bench, note } from "./bench.ts";
import type { Written } from "./ceiling.ts";
import { benchmarkModel, createReadyDataset, DATASET } from "./models.ts";
import { startOperator } from "./operatorprocess.ts";

const WRITERS = 16;
const VERSIONS = 3;
const WATCHED_MS = 60_000;

/** `sample` is what the operator wrote for one model: it is finished and multiplied here. */
export async function measureSettled(bench: Bench, sample: Written, models: number) {
  await createReadyDataset(bench.client, bench.namespace, DATASET);
  await fill(bench, sample, models);
  const operator = await startOperator(bench.plane.kubeconfig, "trainer.invalid/trainer:bench");
  try {
    const before = await apiRequests(bench.connection);
    const started = await operator.cost();
    await sleep(WATCHED_MS);
    const after = await apiRequests(bench.connection);
    const cost = await operator.cost();
    return {
      models,
      versions: models * VERSIONS,
      readySeconds: operator.readyAfterMs / 1000,
      residentMegabytes: cost.residentBytes / 1e6,
      peakMegabytes: cost.peakResidentBytes / 1e6,
      cores: (cost.cpuSeconds - started.cpuSeconds) / (WATCHED_MS / 1000),
      writes: after.writes - before.writes,
      watchedSeconds: WATCHED_MS / 1000,
    };
  } finally {
    await operator.stop();
  }
}

async function fill(bench: Bench, sample: Written, models: number): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: WRITERS }, async () => {
      const connection = await connect(() => loadConfiguration(bench.plane.kubeconfig));
      const client = new Client(connection, { fieldManager: "deeptrain-benchmark" });
      while (next < models) {
        next += 1;
        if (next % 1000 === 0) note(`${next} of ${models} models written`);
        await writeFinished(client, bench.namespace, sample, `model-${next}`);
      }
      await client.close();
    }),
  );
}

/** A model whose newest version is the sample's, and two older versions of other inputs. */
async function writeFinished(
  client: Client,
  namespace: string,
  sample: Written,
  name: string,
): Promise<void> {
  const always = { lane: "always" } as const;
  const model = await client.create(
    modelResource,
    benchmarkModel(namespace, name, DATASET),
    always,
  );
  const versionName = (number: number) => `${name}-v${number}`;
  for (let number = 1; number <= VERSIONS; number++) {
    const version = finishedVersion(sample.version, model, number);
    await client.create(versionResource, version.manifest, always);
    const at = { namespace, name: versionName(number) };
    await client.patch(
      versionResource,
      at,
      { status: version.status },
      { ...always, subresource: "status" },
    );
  }
  const newest = versionName(VERSIONS);
  const Status = DeepModel.shape.status.unwrap();
  // Its messages name the version, too.
  const ofSample = JSON.stringify(Status.parse(sample.model.status));
  const named = ofSample.replaceAll(sample.version.metadata.name, newest);
  const status = { ...Status.parse(JSON.parse(named)), lastVersionNumber: VERSIONS };
  const at = { namespace, name };
  await client.patch(modelResource, at, { status }, { ...always, subresource: "status" });
}

/** The sample as a version of another model. Older ones differ in their inputs, as their hash says. */
function finishedVersion(sample: KubeObject, model: KubeObject, number: number) {
  const { spec, status } = ModelVersion.parse(sample);
  const { name, uid, namespace = "" } = model.metadata;
  const inputsHash = number === VERSIONS ? spec.inputsHash : `sha256:${String(number).repeat(64)}`;
  const owner = sample.metadata.ownerReferences?.[0];
  const manifest = {
    apiVersion: API_VERSION,
    kind: "ModelVersion",
    metadata: {
      name: `${name}-v${number}`,
      namespace,
      labels: { ...sample.metadata.labels, [label.model]: name },
      ownerReferences: [{ ...owner, apiVersion: API_VERSION, name, uid }],
    },
    spec: { ...spec, model: { name, uid }, number, inputsHash },
  };
  return { manifest, status };
}
