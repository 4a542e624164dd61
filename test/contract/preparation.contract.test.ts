// A model with GPUs against a real API server, with the rights of the installation and no others: one Job on CPU, then
// one with GPUs, whoever is restarted between. The kubelet and the Job controller are pretended.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { API_VERSION } from "../../api/group.ts";
import { type ControlPlane, startControlPlane } from "../../cluster/controlplane.ts";
import { applyObjects } from "../../demo/apply.ts";
import { modelResource, versionResource } from "../../demo/live.ts";
import { type Controllers, startControllers } from "../../operator/controllers/start.ts";
import { installObjects } from "../../operator/manifests.ts";
import { settings } from "../../operator/plan/testing/gen.ts";
import { Client } from "../../operator/runtime/client.ts";
import { connect, loadConfiguration } from "../../operator/runtime/connection.ts";
import type { KubeObject } from "../../operator/runtime/object.ts";
import { eventually } from "../../operator/runtime/testing/eventually.ts";
import { createReadyDataset } from "../benchmarks/models.ts";
import { jobResource } from "../e2e/objects.ts";
import { finishJob, runOf } from "../finishedjob.ts";
import { apiServer, installKinds } from "./customresources.ts";

const INSTALLED = "deeptrain-system";
const namespace = "default";
let controlPlane: ControlPlane;
let client: Client;
let operatorClient: Client;
let operator: Controllers | undefined;
const problems: unknown[] = [];

const clientBy = async (kubeconfig: string): Promise<Client> =>
  new Client(await connect(() => loadConfiguration(kubeconfig)), { fieldManager: "contract" });

const startOperator = async (): Promise<void> => {
  operator = startControllers({
    client: operatorClient,
    settings,
    events: { emit: () => undefined },
    log: {
      info: () => undefined,
      warn: (fields) => problems.push(fields),
      error: (fields) => problems.push(fields),
    },
  });
  await operator.synced;
  operator.start();
};

beforeAll(async () => {
  controlPlane = await startControlPlane({ name: "contract-preparation" });
  await installKinds(await apiServer(controlPlane.kubeconfig));
  client = await clientBy(controlPlane.kubeconfig);
  const installation = installObjects({
    namespace: INSTALLED,
    operatorImage: "registry.test/operator:1",
    trainerImage: settings.trainerImage,
    store: { size: "1Gi", accessMode: "ReadWriteOnce" },
    denyPrivateSources: false,
    importMemory: "2Gi",
  });
  const isRight = /^(Namespace|(Cluster)?Role(Binding)?)$/;
  await applyObjects(
    client,
    installation.filter(({ kind }) => isRight.test(kind)),
  );
  const user = `system:serviceaccount:${INSTALLED}:deeptrain-operator`;
  operatorClient = await clientBy(
    await controlPlane.kubeconfigFor(user, ["system:serviceaccounts"]),
  );
});
afterAll(async () => {
  await operator?.stop();
  await operatorClient?.close();
  await client?.close();
  await controlPlane?.stop();
});

const jobs = async (): Promise<string[]> =>
  (await client.listAll(jobResource, { namespace })).items.map(({ metadata }) => metadata.name);
const jobOf = async (name: string): Promise<KubeObject> => {
  let found: KubeObject | undefined;
  await eventually(async () => {
    found = await client.get(jobResource, { namespace, name });
    return found !== undefined;
  }, 20_000);
  if (found === undefined) throw new Error(`no Job ${name}`);
  return found;
};
const statusSays = (name: string, words: string): Promise<void> =>
  eventually(async () => {
    const version = await client.get(versionResource, { namespace, name });
    return JSON.stringify(version?.status ?? {}).includes(words);
  }, 20_000);
const model = (name: string, spec: object) => ({
  apiVersion: API_VERSION,
  kind: "DeepModel",
  metadata: { namespace, name },
  spec: {
    template: "visual-classifier/resnet18",
    datasetRef: { name: "photos" },
    hyperparameters: { logreg: false, num_epochs: 10 },
    resources: { gpus: 2 },
    ...spec,
  },
});

describe("a model with GPUs", () => {
  it("asks for them after the step on CPU, also of an operator that is started between", async () => {
    await createReadyDataset(client, namespace, "photos");
    await startOperator();
    await client.create(modelResource, model("pets", {}));
    const step = await jobOf("pets-v1-a1-prepare");
    await statusSays("pets-v1", '"reason":"Preparing"');
    expect(JSON.stringify(step)).not.toContain("nvidia.com/gpu");
    await operator?.stop();
    const { object, attempt } = runOf(step);
    await finishJob(client, step, {
      task: "train",
      uid: object.uid,
      attempt,
      outcome: "prepared",
    });
    expect(await jobs()).toEqual(["pets-v1-a1-prepare"]);
    await startOperator();
    const training = await jobOf("pets-v1-a1");
    expect(training.spec).toMatchObject({
      template: { spec: { containers: [{ resources: { limits: { "nvidia.com/gpu": "2" } } }] } },
    });
    await statusSays("pets-v1", '"job":"pets-v1-a1"');
    expect(await jobs()).toEqual(["pets-v1-a1", "pets-v1-a1-prepare"]);
  });

  it("is given up while it is prepared, and no GPU was asked for", async () => {
    await client.create(modelResource, model("cats", {}));
    await jobOf("cats-v1-a1-prepare");
    await statusSays("cats-v1", '"reason":"Preparing"');
    await client.apply(modelResource, model("cats", { suspend: true }));
    await eventually(async () => {
      const step = await client.get(jobResource, { namespace, name: "cats-v1-a1-prepare" });
      return step?.metadata.deletionTimestamp !== undefined;
    }, 20_000);
    await statusSays("cats-v1", '"reason":"Stopping"');
    expect(await jobs()).not.toContain("cats-v1-a1");
    expect(problems).toEqual([]);
  });
});
