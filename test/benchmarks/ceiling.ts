// The API server's own ceiling: the very objects that the operator wrote, written again to an empty API server by a
// client that decides nothing, each request as soon as the last of its model is answered.

import { z } from "zod";
import { label } from "../../api/group.ts";
import { modelResource, versionResource } from "../../demo/live.ts";
import { Client } from "../../operator/runtime/client.ts";
import { connect, loadConfiguration } from "../../operator/runtime/connection.ts";
import type { KubeObject, Manifest } from "../../operator/runtime/object.ts";
import type { Resource } from "../../operator/runtime/resource.ts";
import { jobResource } from "../e2e/objects.ts";
import type { Bench } from "./bench.ts";

/** What came of one model. */
export interface Written {
  model: KubeObject;
  version: KubeObject;
  job: KubeObject;
}

export async function readWritten({ client, namespace }: Bench): Promise<Written[]> {
  const all = async (of: Resource) => [...(await client.listAll(of, { namespace })).items];
  const [models, versions, jobs] = await Promise.all([
    all(modelResource),
    all(versionResource),
    all(jobResource),
  ]);
  const byModel = (objects: KubeObject[]) =>
    new Map(objects.map((object) => [object.metadata.labels?.[label.model], object]));
  const versionOf = byModel(versions);
  const jobOf = byModel(jobs);
  return models.flatMap((model) => {
    const version = versionOf.get(model.metadata.name);
    const job = jobOf.get(model.metadata.name);
    return version === undefined || job === undefined ? [] : [{ model, version, job }];
  });
}

/** Enough to keep the API server busy; more made it slower. */
const CONNECTIONS = 16;

export async function measureCeiling(bench: Bench, written: readonly Written[]) {
  const startedAt = performance.now();
  const queue = [...written];
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      const connection = await connect(() => loadConfiguration(bench.plane.kubeconfig));
      const client = new Client(connection, { fieldManager: "deeptrain-benchmark" });
      for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
        await writeAgain(client, next);
      }
      await client.close();
    }),
  );
  const seconds = (performance.now() - startedAt) / 1000;
  return { jobsPerSecond: written.length / seconds, connections: CONNECTIONS };
}

/** All but the events: no Job waits for those. */
async function writeAgain(client: Client, { model, version, job }: Written): Promise<void> {
  const lane = { lane: "always" } as const;
  const newModel = await client.create(modelResource, bare(model), lane);
  const newVersion = await client.create(versionResource, bare(version), lane);
  await client.create(jobResource, bareJob(job), lane);
  await client.replaceStatus(modelResource, { ...manifest(newModel), status: model.status }, lane);
  await client.replaceStatus(
    versionResource,
    { ...manifest(newVersion), status: version.status },
    lane,
  );
}

const manifest = ({ apiVersion = "", kind = "", metadata, spec }: KubeObject): Manifest => ({
  apiVersion,
  kind,
  metadata: { ...metadata, namespace: metadata.namespace ?? "" },
  spec,
});

/** The object as it was created. */
function bare({ apiVersion = "", kind = "", metadata, spec }: KubeObject): Manifest {
  const { name, namespace = "", labels, annotations, ownerReferences } = metadata;
  const asked = { name, namespace, labels, annotations, ownerReferences };
  return { apiVersion, kind, metadata: asked, spec };
}

const labels = z.record(z.string(), z.string());
const JobSpec = z.looseObject({
  template: z.looseObject({ metadata: z.looseObject({ labels }) }),
});

/** The API server fills in a selector and labels with the Job's UID, and takes no others. */
function bareJob(job: KubeObject): Manifest {
  const { selector: _, template, ...spec } = JobSpec.parse(job.spec);
  const own = (all: Readonly<Record<string, string>>) =>
    Object.fromEntries(Object.entries(all).filter(([key]) => !/controller-uid|job-name/.test(key)));
  const metadata = { ...template.metadata, labels: own(template.metadata.labels) };
  const created = bare({
    ...job,
    metadata: { ...job.metadata, labels: own(job.metadata.labels ?? {}) },
  });
  return { ...created, spec: { ...spec, template: { ...template, metadata } } };
}
