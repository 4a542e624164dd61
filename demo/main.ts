// `npm run demo`: from nothing to a trained model on a real cluster, and three photos classified with it.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ModelVersion } from "../api/modelversion.ts";
import { UnfitMachine } from "../cluster/packages.ts";
import { DEFAULT_NAMESPACE } from "../operator/manifests.ts";
import { Client } from "../operator/runtime/client.ts";
import { connect } from "../operator/runtime/connection.ts";
import { applyObjects, readManifests } from "./apply.ts";
import { fetchArtifact } from "./artifact.ts";
import { openClassifier } from "./classify.ts";
import { operatorImage, photosImage, trainerImage } from "./images.ts";
import { install } from "./install.ts";
import { versionResource, watchUntilReady } from "./live.ts";
import { heldOutPhotos, photosPerConcept } from "./photos.ts";
import { photoServer } from "./photoserver.ts";
import { chooseTarget, type Target } from "./target.ts";
import { Unsuitable } from "./unsuitable.ts";
import { whatNext } from "./whatnext.ts";

const NAMESPACE = "deeptrain-demo";
const example = join(import.meta.dirname, "..", "examples", "fashion-mnist");
const names = { dataset: "fashion-mnist", model: "clothes" };

const startedAt = performance.now();
const say = (line: string): void => console.log(line);
const step = (title: string): void => {
  say(`\n[${((performance.now() - startedAt) / 1000).toFixed(0)} s] ${title}`);
};

async function prepareImages(target: Target) {
  step("Images (the first time they take some minutes)");
  const operator = await operatorImage(target);
  const trainer = await trainerImage(target);
  const photos = await photosImage(target, say);
  return { operator, trainer, photos };
}

async function demo(): Promise<void> {
  const choice = await chooseTarget(process.env, say);
  step("Cluster");
  const target = await choice.open();
  say(`using ${target.description}`);
  const images = await prepareImages(target);

  const connection = await connect(target.configuration);
  const client = new Client(connection, { fieldManager: "deeptrain-demo" });
  try {
    step(`Operator in namespace ${DEFAULT_NAMESPACE}`);
    await install(client, {
      namespace: DEFAULT_NAMESPACE,
      operatorImage: images.operator,
      trainerImage: images.trainer,
      store: { size: "10Gi", accessMode: "ReadWriteOnce" },
      denyPrivateSources: false,
    });

    step(`examples/fashion-mnist in namespace ${NAMESPACE}`);
    await applyObjects(client, [
      { apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE } },
    ]);
    await applyObjects(client, photoServer(images.photos), NAMESPACE);
    for (const file of ["dataset.yaml", "deepmodel.yaml"]) {
      await applyObjects(client, await readManifests(join(example, file)), NAMESPACE);
    }
    const model = await watchUntilReady(client, NAMESPACE, names, say);
    const readyVersion = model.status?.readyVersion ?? "";

    step(`The artifact of ${readyVersion}, and three photos that nobody trained on`);
    const version = ModelVersion.parse(
      await client.get(versionResource, { namespace: NAMESPACE, name: readyVersion }),
    );
    for (const [metric, value] of Object.entries(version.status?.metrics?.values ?? {})) {
      say(`  ${metric.padEnd(16)} ${value.toFixed(4)}  (${version.status?.metrics?.split})`);
    }
    await classifyThree({ client, connection }, version, images.trainer);
  } finally {
    await client.close();
  }
  step("Ready. What to try next");
  say(whatNext(target, NAMESPACE, names.model));
}

async function classifyThree(
  cluster: Parameters<typeof fetchArtifact>[0],
  version: ModelVersion,
  image: string,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "deeptrain-artifact-"));
  try {
    await fetchArtifact(cluster, version, image, folder);
    const classifier = await openClassifier(folder);
    for (const photo of await heldOutPhotos(photosPerConcept, ["trouser", "sneaker", "bag"])) {
      const { concept, score } = await classifier.classify(photo.png);
      say(`  a photo of a ${photo.concept} is classified as ${concept} (${score.toFixed(3)})`);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

try {
  await demo();
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  const isOneLine = error instanceof Unsuitable || error instanceof UnfitMachine;
  console.error(isOneLine ? `demo: ${message}` : `\ndemo: failed: ${message}`);
  process.exitCode = 1;
}
