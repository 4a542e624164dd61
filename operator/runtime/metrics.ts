// Prometheus metrics. Every label has a small, fixed set of values: names of controllers and resources, verbs, codes.

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { Controller, ControllerMetrics } from "./controller.ts";
import type { Observer } from "./transport.ts";
import type { Watching } from "./watch.ts";

export interface Metrics {
  readonly registry: Registry;
  readonly controllers: ControllerMetrics;
  /** For `Client`. */
  readonly observe: Observer;
  /** Depth, delays and work of a controller's queue, read when somebody asks. */
  follow(controller: Controller): void;
  /** Size and silence of a watched cache, read when somebody asks. */
  watch(watch: Watching): void;
}

const SECONDS = [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60];

export const createMetrics = (): Metrics => {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const requests = new Counter({
    name: "rest_client_requests_total",
    help: "Answers of the API server; code 0 is no answer.",
    labelNames: ["verb", "code"],
    registers,
  });
  const requestSeconds = new Histogram({
    name: "rest_client_request_duration_seconds",
    help: "Time to the end of an answer of the API server.",
    labelNames: ["verb"],
    buckets: SECONDS,
    registers,
  });
  return {
    registry,
    observe: ({ verb, code, seconds }) => {
      requests.inc({ verb, code });
      requestSeconds.observe({ verb }, seconds);
    },
    controllers: controllerMetrics(registry),
    follow: queueGauges(registry),
    watch: watchGauges(registry),
  };
};

const controllerMetrics = (registry: Registry): ControllerMetrics => {
  const registers = [registry];
  const waited = new Histogram({
    name: "workqueue_queue_duration_seconds",
    help: "Time that a key waits in line.",
    labelNames: ["controller"],
    buckets: SECONDS,
    registers,
  });
  const reconciles = new Counter({
    name: "reconcile_total",
    help: "Reconciles by outcome.",
    labelNames: ["controller", "outcome"],
    registers,
  });
  const reconcileSeconds = new Histogram({
    name: "reconcile_duration_seconds",
    help: "Time of a reconcile.",
    labelNames: ["controller"],
    buckets: SECONDS,
    registers,
  });
  return {
    taken: (controller, seconds) => waited.observe({ controller }, seconds),
    reconciled: (controller, outcome, seconds) => {
      reconciles.inc({ controller, outcome });
      reconcileSeconds.observe({ controller }, seconds);
    },
  };
};

const queueGauges = (registry: Registry) => {
  const followed: Controller[] = [];
  const gauge = (name: string, help: string, read: (controller: Controller) => number) =>
    new Gauge({
      name,
      help,
      labelNames: ["controller"],
      registers: [registry],
      collect() {
        for (const controller of followed) {
          this.set({ controller: controller.name }, read(controller));
        }
      },
    });
  gauge("workqueue_depth", "Keys in line.", ({ queue }) => queue.depth);
  gauge("workqueue_delayed", "Keys that wait for their time.", ({ queue }) => queue.delayed);
  gauge("workqueue_working", "Keys in work.", ({ queue }) => queue.working);
  return (controller: Controller): void => {
    followed.push(controller);
  };
};

const watchGauges = (registry: Registry) => {
  const watched: Watching[] = [];
  const gauge = (name: string, help: string, read: (watch: Watching) => number) =>
    new Gauge({
      name,
      help,
      labelNames: ["resource"],
      registers: [registry],
      collect() {
        for (const watch of watched)
          this.set({ resource: watch.cache.resource.plural }, read(watch));
      },
    });
  gauge("cache_objects", "Objects in a cache.", ({ cache }) => cache.size);
  gauge(
    "watch_silent_seconds",
    "Time since the API server last sent anything for a resource.",
    ({ silentMs }) => silentMs / 1000,
  );
  return (watch: Watching): void => {
    watched.push(watch);
  };
};
