// Everything that works only while the Lease is held: the controllers, and the trainers' endpoint. Started in their
// order and ended in the opposite one.

import { Counter } from "prom-client";
import { CERTIFICATE_NAME } from "./controllers/access.ts";
import { type Controllers, startControllers } from "./controllers/start.ts";
import type { Settings } from "./plan/plan.ts";
import { type EndpointCertificate, ensureCertificate } from "./progress/certificate.ts";
import { type Endpoint, startEndpoint } from "./progress/endpoint.ts";
import { apiServerReviewer } from "./progress/tokens.ts";
import type { Client } from "./runtime/client.ts";
import { Events } from "./runtime/events.ts";
import { watchesReady } from "./runtime/health.ts";
import type { Logger } from "./runtime/log.ts";
import type { Metrics } from "./runtime/metrics.ts";
import type { Watching } from "./runtime/watch.ts";
import { watchLog } from "./runtime/watchlog.ts";
import type { OperatorSettings } from "./settings.ts";

const CONTROLLER = "deeptrain.dev/operator";
const CERTIFICATE_CHECK_MS = 12 * 3_600_000;
const GIBIBYTE = 2 ** 30;

/** Caps on hostile data, not quotas: far above what a claim holds, far below what a node survives. */
const importLimits = {
  archiveBytes: 256 * GIBIBYTE,
  unpackedBytes: 512 * GIBIBYTE,
};

export interface WorkTools {
  client: Client;
  log: Logger;
  metrics: Metrics;
  /** Of this process. */
  identity: string;
  isHeld: () => boolean;
}

export class Work {
  readonly #settings: OperatorSettings;
  readonly #tools: WorkTools;
  #watches: readonly Watching[] = [];
  #isBegun = false;

  constructor(settings: OperatorSettings, tools: WorkTools) {
    this.#settings = settings;
    this.#tools = tools;
  }

  /** Empty before it is run. */
  get watches(): readonly Watching[] {
    return this.#watches;
  }

  /** What it still needs before it can work, or lacks since; empty: nothing. */
  missing(): string[] {
    const problems = watchesReady(this.#watches);
    return problems.length > 0 || this.#isBegun ? problems : ["starting"];
  }

  /** Works until `stop` resolves, also where it cannot begin; resolves when nothing of it runs any more. */
  async run(stop: Promise<void>): Promise<void> {
    const { client, log, metrics, identity } = this.#tools;
    const certificate = await ensureCertificate(client, this.#certificateOptions());
    const events = new Events({ client, controller: CONTROLLER, instance: identity });
    const controllers = startControllers({
      client,
      events,
      settings: this.#planSettings(certificate),
      log,
      metrics: metrics.controllers,
      watch: { onFailure: watchLog(log) },
    });
    this.#watches = controllers.watches;
    for (const controller of controllers.controllers) metrics.follow(controller);
    for (const watch of controllers.watches) metrics.watch(watch);
    const isSynced = await Promise.race([
      controllers.synced.then(() => true),
      stop.then(() => false),
    ]);
    if (isSynced) await this.#serve(controllers, certificate, stop);
    await controllers.stop();
    await events.flush();
  }

  async #serve(
    controllers: Controllers,
    certificate: EndpointCertificate,
    stop: Promise<void>,
  ): Promise<void> {
    const { client, log } = this.#tools;
    const endpoint = await this.#startEndpoint(controllers, certificate);
    const renewal = setInterval(() => {
      ensureCertificate(client, this.#certificateOptions()).then(
        (next) => endpoint.setCertificate(next.certificate, next.key),
        (err: unknown) => log.error({ err }, "the certificate could not be checked"),
      );
    }, CERTIFICATE_CHECK_MS);
    controllers.start();
    this.#isBegun = true;
    log.info({}, "ready");
    await stop;
    clearInterval(renewal);
    await endpoint.close();
  }

  #startEndpoint(
    controllers: Controllers,
    { certificate, key }: EndpointCertificate,
  ): Promise<Endpoint> {
    const { client, log, metrics, isHeld } = this.#tools;
    const verdicts = new Counter({
      name: "deeptrain_progress_reports_total",
      help: "Progress reports by what became of them.",
      labelNames: ["verdict"],
      registers: [metrics.registry],
    });
    return startEndpoint({
      port: this.#settings.progressPort,
      certificate,
      key,
      review: apiServerReviewer(client),
      runOf: controllers.runOf,
      sink: (uid, report, podUid) => {
        const written = controllers.takeReport(uid, report, podUid);
        if (report.event.type === "report") return written;
        // Mere progress is answered at once; that it was not written in time is no one's loss.
        written.catch(() => undefined);
      },
      isServing: isHeld,
      onVerdict: (verdict) => verdicts.inc({ verdict }),
      onError: (err) => log.error({ err }, "the progress endpoint failed"),
    });
  }

  #certificateOptions() {
    const { namespace, progressHost } = this.#settings;
    return { namespace, secretName: CERTIFICATE_NAME, dnsNames: [progressHost] };
  }

  #planSettings({ ca }: EndpointCertificate): Settings {
    const { trainerImage, progressHost, progressPort, store, denyPrivateSources, importMemory } =
      this.#settings;
    return {
      trainerImage,
      progressUrl: `https://${progressHost}:${progressPort}`,
      progressCa: ca,
      store,
      denyPrivateSources,
      importMemory,
      importLimits,
    };
  }
}
