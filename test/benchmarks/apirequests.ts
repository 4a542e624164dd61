// What an API server was asked, by its own count.

import { request } from "undici";
import type { Connection } from "../../operator/runtime/connection.ts";

export interface ApiRequests {
  /** Reads and writes of everything but Leases; a watch counts when it ends. */
  all: number;
  writes: number;
}

const isWrite = (verb: string): boolean =>
  ["POST", "PUT", "PATCH", "APPLY", "DELETE"].includes(verb);

/** Requests so far, of all clients; the API server's requests to itself (loopback) included. */
export async function apiRequests(connection: Connection): Promise<ApiRequests> {
  const { statusCode, body } = await request(`${connection.origin}/metrics`, {
    dispatcher: connection.dispatcher,
    headers: { ...(await connection.headers()) },
  });
  const text = await body.text();
  if (statusCode !== 200) throw new Error(`/metrics: HTTP ${statusCode}`);
  const counts = { all: 0, writes: 0 };
  for (const line of text.split("\n")) {
    if (!line.startsWith("apiserver_request_total{")) continue;
    const verb = /verb="([^"]*)"/.exec(line)?.[1] ?? "";
    const of = /resource="([^"]*)"/.exec(line)?.[1] ?? "";
    const group = /group="([^"]*)"/.exec(line)?.[1] ?? "";
    // Only what the benchmark and the operator work with: the server's own housekeeping is not theirs.
    if (group !== "deeptrain.dev" && group !== "batch" && of !== "pods" && of !== "events")
      continue;
    const value = Number(line.slice(line.lastIndexOf(" ") + 1));
    counts.all += value;
    if (isWrite(verb)) counts.writes += value;
  }
  return counts;
}
