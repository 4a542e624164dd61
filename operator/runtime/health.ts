// What the kubelet and Prometheus ask: /healthz, /readyz, /metrics.

import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Registry } from "prom-client";
import type { Watching } from "./watch.ts";

export interface HealthOptions {
  readonly port: number;
  /** Default: every address. */
  readonly host?: string;
  /** What is so wrong that only a restart helps; empty = alive. */
  readonly live: () => readonly string[];
  /** What is missing to do the work; empty = ready. */
  readonly ready: () => readonly string[];
  readonly registry: Registry;
}

export interface HealthServer {
  readonly port: number;
  close(): Promise<void>;
}

/** A watch that heard nothing for so long is beyond its own repair. */
export const SILENT_MAX_MS = 10 * 60_000;

export const watchesLive = (watches: readonly Watching[]): string[] =>
  watches
    .filter(({ silentMs }) => silentMs > SILENT_MAX_MS)
    .map(({ cache, silentMs, problem }) =>
      [
        `nothing heard of ${cache.resource.plural} for ${Math.round(silentMs / 1000)} s`,
        ...(problem === undefined ? [] : [problem]),
      ].join(": "),
    );

export const watchesReady = (watches: readonly Watching[]): string[] =>
  watches
    .filter(({ cache, isRefused }) => !cache.synced || isRefused)
    .map(({ cache, problem }) => `${cache.resource.plural}: ${problem ?? "not listed yet"}`);

/** Resolves when it listens; rejects where the port is taken. */
export const startHealthServer = async (options: HealthOptions): Promise<HealthServer> => {
  const server = createServer((request, response) => {
    const { method, url = "" } = request;
    const path = url.split("?")[0];
    if (method !== "GET" && method !== "HEAD") return end(response, 405, "method not allowed\n");
    if (path === "/healthz") return verdict(response, options.live());
    if (path === "/readyz") return verdict(response, options.ready());
    if (path !== "/metrics") return end(response, 404, "not found\n");
    options.registry.metrics().then(
      (text) => end(response, 200, text, options.registry.contentType),
      () => end(response, 500, "the metrics could not be read\n"),
    );
  });
  server.headersTimeout = 5_000;
  server.requestTimeout = 10_000;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
};

const verdict = (response: ServerResponse, problems: readonly string[]): void =>
  problems.length === 0
    ? end(response, 200, "ok\n")
    : end(response, 503, `${problems.join("\n")}\n`);

const end = (
  response: ServerResponse,
  status: number,
  body: string,
  type = "text/plain; charset=utf-8",
): void => {
  response.writeHead(status, { "content-type": type });
  response.end(body);
};
