// The operator's process: takes the Lease, works while it holds it, and ends at a signal. What it decides is elsewhere.

import { setTimeout as sleep } from "node:timers/promises";
import { OPERATOR_NAME } from "./controllers/access.ts";
import { Client } from "./runtime/client.ts";
import { connect, loadConfiguration } from "./runtime/connection.ts";
import { startHealthServer, watchesLive } from "./runtime/health.ts";
import { Lease, processIdentity } from "./runtime/lease.ts";
import { createLogger, type Logger } from "./runtime/log.ts";
import { createMetrics } from "./runtime/metrics.ts";
import { type OperatorSettings, parseSettings, usage } from "./settings.ts";
import { Work } from "./work.ts";

/** Below the pod's grace period of 30 s. */
const STOP_MAX_MS = 20_000;

async function run(settings: OperatorSettings, log: Logger): Promise<void> {
  const metrics = createMetrics();
  const connection = await connect(() => loadConfiguration(settings.kubeconfig));
  let isHeld = (): boolean => false;
  const client = new Client(connection, {
    fieldManager: "deeptrain",
    mayWrite: () => isHeld(),
    observe: metrics.observe,
  });
  const stop = stopSignal(log);
  let waitsFor = "the Lease";
  const identity = processIdentity();
  const lease = new Lease({
    client,
    name: { namespace: settings.namespace, name: OPERATOR_NAME },
    identity,
    onLost: (why) => {
      // Another operator may act from now on: nothing of this one may be written any more.
      log.fatal({ why }, "the Lease is lost");
      process.exit(1);
    },
    onWaiting: (why) => {
      waitsFor = `the Lease: ${why}`;
      log.info({ why }, "waiting for the Lease");
    },
  });
  isHeld = () => lease.isHeld();
  const work = new Work(settings, { client, log, metrics, identity, isHeld });
  const health = await startHealthServer({
    port: settings.healthPort,
    registry: metrics.registry,
    live: () => watchesLive(work.watches),
    ready: () => (lease.isHeld() ? work.missing() : [`waiting for ${waitsFor}`]),
  });
  await Promise.race([lease.acquire(), stop]);
  if (lease.isHeld()) {
    log.info({ identity }, "holds the Lease");
    await work.run(stop);
  }
  await lease.release();
  await health.close();
  await client.close();
  log.info({}, "stopped");
}

/** Resolves at the first SIGTERM or SIGINT. The second one ends the process at once, and so does its lasting too long. */
function stopSignal(log: Logger): Promise<void> {
  return new Promise((resolve) => {
    let isStopping = false;
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.on(signal, () => {
        if (isStopping) process.exit(1);
        isStopping = true;
        log.info({ signal }, "stopping");
        setTimeout(() => {
          log.error({}, "what was in hand did not end in time");
          process.exit(1);
        }, STOP_MAX_MS).unref();
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
