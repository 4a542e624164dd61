// One request and its answer, as bytes: connection reuse, credentials, time limits, retries. No Kubernetes objects.

import type { Dispatcher } from "undici";
import { ApiError, errorFromResponse } from "./apierror.ts";
import { backoffMs, sleep } from "./backoff.ts";
import type { Bucket } from "./bucket.ts";
import type { Connection } from "./connection.ts";

export type Verb = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export interface RequestOptions {
  readonly method: Verb;
  /** Begins with `/`. */
  readonly path: string;
  readonly query?: Query;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Default `application/json`. */
  readonly contentType?: string;
  /** Default 30,000. */
  readonly timeoutMs?: number;
  /** Where a write queues. */
  readonly bucket?: Bucket | undefined;
  /** Called just before every sending, after all waiting; throws to forbid it. */
  readonly guard?: (() => void) | undefined;
  /** Not sent again after 429, 5xx or silence: the caller has better to do than to wait. */
  readonly once?: boolean;
}

/** Told of every answer; `code` is 0 when there was none. */
export type Observer = (answer: { verb: Verb; code: number; seconds: number }) => void;

const TIMEOUT_MS = 30_000;
/** 500, 502, 503, 504 and no answer: so often, then the caller's own backoff takes over. */
const MAX_FAILURES = 3;
/** 429 is the server's wish to be asked later, not a failure. */
const MAX_THROTTLED = 10;
const RETRY = { minMs: 100, maxMs: 5_000 };
const RETRY_AFTER_MAX_MS = 60_000;

/** Resolves with the body of a 2xx answer; rejects with `ApiError`, or with what `guard` throws. */
export const send = async (
  connection: Connection,
  options: RequestOptions,
  observe: Observer,
): Promise<string> => {
  const payload = options.body === undefined ? undefined : JSON.stringify(options.body);
  let failures = 0;
  let throttled = 0;
  let renewed = false;
  for (;;) {
    const answer = await attempt(connection, options, payload, observe, throttled);
    if (typeof answer === "string") return answer;
    if (answer.code === 401 && !renewed) {
      renewed = true;
      await connection.headers(true);
    } else if (options.once === true) {
      throw answer;
    } else if (answer.code === 429 && throttled < MAX_THROTTLED) {
      throttled += 1;
      await sleep(throttleMs(answer, throttled));
    } else if (isTransient(answer) && failures < MAX_FAILURES) {
      failures += 1;
      await sleep(retryAfterMs(answer) ?? backoffMs(failures, RETRY));
    } else throw answer;
  }
};

const attempt = async (
  connection: Connection,
  options: RequestOptions,
  payload: string | undefined,
  observe: Observer,
  throttled: number,
): Promise<string | ApiError> => {
  const turn = await options.bucket?.turn();
  try {
    options.guard?.();
    const answer = await once(connection, options, payload, observe);
    if (answer instanceof ApiError && answer.code === 429) {
      turn?.throttled(throttleMs(answer, throttled + 1));
    }
    return answer;
  } finally {
    turn?.done();
  }
};

const once = async (
  connection: Connection,
  { method, path, query, contentType, timeoutMs = TIMEOUT_MS }: RequestOptions,
  payload: string | undefined,
  observe: Observer,
): Promise<string | ApiError> => {
  const startedAt = performance.now();
  let code = 0;
  try {
    const headers: Record<string, string> = {
      ...(await connection.headers()),
      accept: "application/json",
      "user-agent": USER_AGENT,
    };
    if (payload !== undefined) headers["content-type"] = contentType ?? "application/json";
    const response = await connection.dispatcher.request({
      origin: connection.origin,
      path: connection.basePath + path + queryString(query),
      method,
      headers,
      body: payload ?? null,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
    });
    const body = await response.body.text();
    code = response.statusCode;
    return code >= 200 && code < 300
      ? body
      : errorFromResponse(code, body, headerOf(response.headers, "retry-after"));
  } catch (cause) {
    code = 0;
    return unreachable(cause);
  } finally {
    observe({ verb: method, code, seconds: (performance.now() - startedAt) / 1000 });
  }
};

/** Opens a stream of answers, as a watch is; the caller reads or destroys its body. No retries. */
export const openStream = async (
  connection: Connection,
  { path, query, timeoutMs = TIMEOUT_MS }: Pick<RequestOptions, "path" | "query" | "timeoutMs">,
  signal: AbortSignal,
): Promise<Dispatcher.ResponseData["body"]> => {
  let response: Dispatcher.ResponseData;
  try {
    response = await connection.dispatcher.request({
      origin: connection.origin,
      path: connection.basePath + path + queryString(query),
      method: "GET",
      headers: {
        ...(await connection.headers()),
        accept: "application/json",
        "user-agent": USER_AGENT,
      },
      headersTimeout: timeoutMs,
      bodyTimeout: 0,
      signal,
    });
  } catch (cause) {
    throw unreachable(cause);
  }
  if (response.statusCode === 200) return response.body;
  const text = await response.body.text().catch(() => "");
  if (response.statusCode === 401) await connection.headers(true);
  throw errorFromResponse(response.statusCode, text, headerOf(response.headers, "retry-after"));
};

export const queryString = (query: Query = {}): string => {
  const parts = Object.entries(query)
    .filter(([, value]) => value !== undefined && value !== "")
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(String(value))}`);
  return parts.length === 0 ? "" : `?${parts.join("&")}`;
};

const USER_AGENT = "deeptrain-operator";

const unreachable = (cause: unknown): ApiError =>
  cause instanceof ApiError
    ? cause
    : new ApiError(
        0,
        "Unreachable",
        `the API server did not answer: ${cause instanceof Error ? cause.message : String(cause)}`,
        { cause },
      );

const isTransient = ({ code }: ApiError): boolean =>
  code === 0 || code === 500 || code === 502 || code === 503 || code === 504;

const retryAfterMs = ({ retryAfterSeconds }: ApiError): number | undefined =>
  retryAfterSeconds === undefined
    ? undefined
    : Math.min(RETRY_AFTER_MAX_MS, retryAfterSeconds * 1000);

const throttleMs = (error: ApiError, times: number): number =>
  retryAfterMs(error) ?? backoffMs(times, RETRY);

const headerOf = (
  headers: Record<string, string | string[] | undefined>,
  name: string,
): string | undefined => {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
};
