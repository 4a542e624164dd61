// How fast DeepModels that are created at once get their Jobs, and what the operator spends on it.

import { setTimeout as sleep } from "node:timers/promises";
import { label } from "../../api/group.ts";
import { until } from "../../demo/install.ts";
import { modelResource } from "../../demo/live.ts";
import { Cache } from "../../operator/runtime/cache.ts";
import { Client } from "../../operator/runtime/client.ts";
import { connect, loadConfiguration } from "../../operator/runtime/connection.ts";
import { Watch } from "../../operator/runtime/watch.ts";
import { jobResource } from "../e2e/objects.ts";
import { apiRequests } from "./apirequests.ts";
import type { Bench } from "./bench.ts";
import { readWritten } from "./ceiling.ts";
import { finishOne } from "./finish.ts";
import { benchmarkModel, createReadyDataset, DATASET } from "./models.ts";
import { startOperator } from "./operatorprocess.ts";

/** Of users, all at once. */
const CLIENTS = 8;
const QUIET_MS = 30_000;

export async function measureCreation(bench: Bench, models: number) {
  await createReadyDataset(bench.client, bench.namespace, DATASET);
  const operator = await startOperator(bench.plane.kubeconfig, "trainer.invalid/trainer:bench");
  const jobs = watchFirstJobs(bench);
  try {
    await jobs.watch.synced;
    const requests = await apiRequests(bench.connection);
    const cost = await operator.cost();
    const startedAt = performance.now();
    const askedAt = await createModels(bench, models);
    await until("every model has its Job", 600_000, async () => jobs.seenAt.size >= models);
    const spent = await operator.cost();
    const seconds = (Math.max(...jobs.seenAt.values()) - startedAt) / 1000;
    const latencies = [...askedAt]
      .map(([name, at]) => (jobs.seenAt.get(name) ?? Number.NaN) - at)
      .sort((a, b) => a - b);
    await sleep(QUIET_MS);
    const settled = await apiRequests(bench.connection);
    await sleep(QUIET_MS);
    const quiet = await apiRequests(bench.connection);
    const written = await readWritten(bench);
    return {
      models,
      jobsPerSecond: models / seconds,
      p50Seconds: percentile(latencies, 0.5) / 1000,
      p99Seconds: percentile(latencies, 0.99) / 1000,
      operatorCpuSeconds: spent.cpuSeconds - cost.cpuSeconds,
      operatorPeakMegabytes: spent.peakResidentBytes / 1e6,
      // The creation of the model itself is its user's write.
      writesPerModel: (settled.writes - requests.writes) / models - 1,
      requestsPerModel: (settled.all - requests.all) / models - 1,
      duplicateJobs: jobs.watch.cache.size - models,
      writesWhenSettled: quiet.writes - settled.writes,
      settledForSeconds: QUIET_MS / 1000,
      written,
      finished: await finishOne(bench, written),
    };
  } finally {
    await jobs.watch.stop();
    await operator.stop();
  }
}

/** Creates the models; resolves to when each was asked for. */
async function createModels(bench: Bench, models: number): Promise<Map<string, number>> {
  const askedAt = new Map<string, number>();
  await Promise.all(
    Array.from({ length: CLIENTS }, async (_, worker) => {
      const connection = await connect(() => loadConfiguration(bench.plane.kubeconfig));
      const client = new Client(connection, { fieldManager: "deeptrain-benchmark" });
      for (let index = worker; index < models; index += CLIENTS) {
        const name = `model-${index}`;
        askedAt.set(name, performance.now());
        const model = benchmarkModel(bench.namespace, name, DATASET);
        await client.create(modelResource, model, { lane: "always" });
      }
      await client.close();
    }),
  );
  return askedAt;
}

function watchFirstJobs(bench: Bench) {
  const seenAt = new Map<string, number>();
  const cache = new Cache({
    resource: jobResource,
    parse: (object) => ({ ok: true, value: { metadata: object.metadata } }),
  });
  cache.onChange(({ after }) => {
    const model = after?.metadata.labels?.[label.model];
    if (model !== undefined && !seenAt.has(model)) seenAt.set(model, performance.now());
  });
  return { seenAt, watch: new Watch(bench.client, cache).start() };
}

const percentile = (sorted: number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
