// The operator's process: starts the parts in their order and ends them in the opposite one. What they decide is
// elsewhere.

import { setTimeout as sleep } from "node:timers/promises";
import { Counter } from "prom-client";
import { startControllers } from "./controllers/start.ts";
import type { Settings } from "./plan/plan.ts";
import { ensureCertificate } from "./progress/certificate.ts";
import { startEndpoint } from "./progress/endpoint.ts";
import { apiServerReviewer } from "./progress/tokens.ts";
import { Client } from "./runtime/client.ts";
import { connect, loadConfiguration } from "./runtime/connection.ts";
import { Events } from "./runtime/events.ts";
import { SILENT_MAX_MS, startHealthServer } from "./runtime/health.ts";
import { Lease, processIdentity } from "./runtime/lease.ts";
import { createLogger, type Logger } from "./runtime/log.ts";
import { createMetrics } from "./runtime/metrics.ts";
import { type OperatorSettings, parseSettings, usage } from "./settings.ts";

const NAME = "deeptrain-operator";
const CONTROLLER = "deeptrain.dev/operator";
const CERTIFICATE_CHECK_MS = 12 * 3_600_000;
const GIBIBYTE = 2 ** 30;

/** Caps on hostile data, not quotas: far above what a claim holds, far below what a node survives. */
const importLimits = {
  archiveBytes: 256 * GIBIBYTE,
  unpackedBytes: 512 * GIBIBYTE,
};

async function run(settings: OperatorSettings, log: Logger): Promise<void> {
  const metrics = createMetrics();
  const connection = await connect(() => loadConfiguration(settings.kubeconfig));
  let isHeld = (): boolean => false;
  const client = new Client(connection, {
    fieldManager: "deeptrain",
    mayWrite: () => isHeld(),
    observe: metrics.observe,
  });
  const identity = processIdentity();
  const lease = new Lease({
    client,
    name: { namespace: settings.namespace, name: NAME },
    identity,
    onLost: (why) => {
      // Another operator may act from now on: nothing of this one may be written any more.
      log.fatal({ why }, "the Lease is lost");
      process.exit(1);
    },
    onWaiting: (why) => log.info({ why }, "waiting for the Lease"),
  });
  isHeld = () => lease.isHeld();

  let parts: Awaited<ReturnType<typeof startParts>> | undefined;
  const health = await startHealthServer({
    port: settings.healthPort,
    registry: metrics.registry,
    live: () => parts?.problems() ?? [],
    ready: () =>
      lease.isHeld() && parts !== undefined ? [] : ["not synced yet, or without the Lease"],
  });
  const stopped = stopSignal(log);
  await Promise.race([lease.acquire(), stopped]);
  if (lease.isHeld()) {
    log.info({ identity }, "holds the Lease");
    parts = await startParts(settings, { client, log, metrics, identity, isHeld });
    log.info({}, "ready");
    await stopped;
    await parts.stop();
  }
  await lease.release();
  await health.close();
  await client.close();
  log.info({}, "stopped");
}

interface Shared {
  client: Client;
  log: Logger;
  metrics: ReturnType<typeof createMetrics>;
  identity: string;
  isHeld: () => boolean;
}

/** Everything that works only while the Lease is held; resolves when the caches are whole and the work has begun. */
async function startParts(settings: OperatorSettings, shared: Shared) {
  const { client, log, metrics, identity, isHeld } = shared;
  const certificateOptions = {
    namespace: settings.namespace,
    secretName: "deeptrain-progress",
    dnsNames: [settings.progressHost],
  };
  const certificate = await ensureCertificate(client, certificateOptions);
  const planSettings: Settings = {
    trainerImage: settings.trainerImage,
    progressUrl: `https://${settings.progressHost}:${settings.progressPort}`,
    progressCa: certificate.ca,
    store: settings.store,
    denyPrivateSources: settings.denyPrivateSources,
    importMemory: settings.importMemory,
    importLimits,
  };
  const events = new Events({ client, controller: CONTROLLER, instance: identity });
  const controllers = startControllers({
    client,
    events,
    settings: planSettings,
    log,
    metrics: metrics.controllers,
  });
  for (const controller of controllers.controllers) metrics.follow(controller);
  await controllers.synced;

  const verdicts = new Counter({
    name: "deeptrain_progress_reports_total",
    help: "Progress reports by what became of them.",
    labelNames: ["verdict"],
    registers: [metrics.registry],
  });
  const endpoint = await startEndpoint({
    port: settings.progressPort,
    certificate: certificate.certificate,
    key: certificate.key,
    review: apiServerReviewer(client),
    runOf: controllers.runOf,
    sink: (uid, report) => {
      const written = controllers.takeReport(uid, report);
      if (report.event.type === "report") return written;
      // Mere progress is answered at once; that it was not written in time is no one's loss.
      written.catch(() => undefined);
    },
    isServing: isHeld,
    onVerdict: (verdict) => verdicts.inc({ verdict }),
    onError: (err) => log.error({ err }, "the progress endpoint failed"),
  });
  const renewal = setInterval(() => {
    ensureCertificate(client, certificateOptions).then(
      (next) => endpoint.setCertificate(next.certificate, next.key),
      (err: unknown) => log.error({ err }, "the certificate could not be checked"),
    );
  }, CERTIFICATE_CHECK_MS);
  controllers.start();
  return {
    problems: (): string[] =>
      controllers.watches
        .filter(({ silentMs }) => silentMs > SILENT_MAX_MS)
        .map(({ silentMs, problem }) => `a watch is silent for ${silentMs} ms: ${problem ?? ""}`),
    stop: async (): Promise<void> => {
      clearInterval(renewal);
      await endpoint.close();
      await controllers.stop();
      await events.flush();
    },
  };
}

/** Resolves at the first SIGTERM or SIGINT; the second one ends the process at once. */
function stopSignal(log: Logger): Promise<void> {
  return new Promise((resolve) => {
    let isStopping = false;
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.on(signal, () => {
        if (isStopping) process.exit(1);
        isStopping = true;
        log.info({ signal }, "stopping");
        resolve();
      });
    }
  });
}

async function main(args: string[]): Promise<void> {
  if (args.includes("--help")) {
    console.log(usage);
    return;
  }
  let settings: OperatorSettings;
  try {
    settings = parseSettings(args);
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n\n${usage}`);
    process.exitCode = 2;
    return;
  }
  const log = createLogger("info");
  try {
    await run(settings, log);
  } catch (err) {
    log.fatal({ err }, "the operator failed");
    // A pause, so that a lasting fault (no CRDs, no rights) is no hot crash loop.
    await sleep(2_000);
    process.exit(1);
  }
}

await main(process.argv.slice(2));
