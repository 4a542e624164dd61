import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Cache } from "./cache.ts";
import { Controller } from "./controller.ts";
import { type HealthServer, startHealthServer, watchesLive, watchesReady } from "./health.ts";
import { createMetrics, type Metrics } from "./metrics.ts";
import { FakeApiServer } from "./testing/apiserver.ts";
import { eventually } from "./testing/eventually.ts";
import { widget, widgetCache, widgets } from "./testing/kinds.ts";
import { Watch } from "./watch.ts";

describe("the health server", () => {
  let health: HealthServer;
  let metrics: Metrics;
  let live: string[];
  let ready: string[];
  const get = async (path: string, method = "GET") => {
    const response = await fetch(`http://127.0.0.1:${health.port}${path}`, { method });
    return { status: response.status, body: await response.text() };
  };

  beforeEach(async () => {
    [live, ready] = [[], []];
    metrics = createMetrics();
    health = await startHealthServer({
      port: 0,
      host: "127.0.0.1",
      live: () => live,
      ready: () => ready,
      registry: metrics.registry,
    });
  });
  afterEach(() => health.close());

  it("says what is wrong", async () => {
    expect(await get("/healthz")).toEqual({ status: 200, body: "ok\n" });
    expect(await get("/readyz?verbose")).toEqual({ status: 200, body: "ok\n" });
    live.push("a", "b");
    ready.push("waiting for the lease");
    expect(await get("/healthz")).toEqual({ status: 503, body: "a\nb\n" });
    expect(await get("/readyz")).toEqual({ status: 503, body: "waiting for the lease\n" });
  });

  it("has nothing else", async () => {
    expect((await get("/")).status).toBe(404);
    expect((await get("/healthz", "POST")).status).toBe(405);
  });

  it("rejects where the port is taken", async () => {
    const { port } = health;
    const again = { port, host: "127.0.0.1", live: () => [], ready: () => [] };
    await expect(startHealthServer({ ...again, registry: metrics.registry })).rejects.toThrow(
      "EADDRINUSE",
    );
  });

  it("shows requests, reconciles, queues and caches as metrics", async () => {
    const server = await FakeApiServer.start([{ resource: widgets }]);
    const client = await server.client({ observe: metrics.observe });
    server.put(widgets, widget("a"));
    const cache = new Cache(widgetCache);
    const watch = new Watch(client, cache);
    metrics.watch(watch);
    expect(watchesReady([watch])).toEqual(["widgets: not listed yet"]);
    watch.start();
    const seen: string[] = [];
    const controller = new Controller({
      name: "widget",
      reconcile: async (key) => {
        seen.push(key);
        return { afterMs: 60_000 };
      },
      log: { error: () => undefined },
      metrics: metrics.controllers,
    }).follow(cache);
    metrics.follow(controller);
    controller.start();
    try {
      await watch.synced;
      await eventually(() => seen.length === 1 && controller.queue.delayed === 1);
      expect(watchesReady([watch])).toEqual([]);
      expect(watchesLive([watch])).toEqual([]);
      const { body } = await get("/metrics");
      for (const line of [
        'rest_client_requests_total{verb="GET",code="200"} 1',
        'reconcile_total{controller="widget",outcome="success"} 1',
        'workqueue_queue_duration_seconds_count{controller="widget"} 1',
        'workqueue_delayed{controller="widget"} 1',
        'cache_objects{resource="widgets"} 1',
        "process_resident_memory_bytes",
      ]) {
        expect(body).toContain(line);
      }
    } finally {
      await controller.stop();
      await watch.stop();
      await server.stop();
    }
  });

  it("counts a watch that heard nothing for ten minutes as dead", () => {
    const cache = { resource: widgets, synced: true, size: 0 };
    const dead = { cache, silentMs: 601_000, problem: "refused", isRefused: false };
    expect(watchesLive([dead])).toEqual(["nothing heard of widgets for 601 s: refused"]);
    expect(watchesLive([{ ...dead, silentMs: 599_000 }])).toEqual([]);
  });

  it("is not ready without a resource that was there and is not any more", () => {
    const cache = { resource: widgets, synced: true, size: 3 };
    const watch = { cache, silentMs: 10, problem: "gone", isRefused: true };
    expect(watchesReady([watch])).toEqual(["widgets: gone"]);
    // A connection that broke is mended at once.
    expect(watchesReady([{ ...watch, isRefused: false }])).toEqual([]);
  });
});
