// The trainers' endpoint: takes a report exactly when the API server vouches for the token, the pod is a live pod of
// the run's present attempt, and the report is small, strict and newer than the last. Everything else is refused with
// an answer that tells nothing.

import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { progressAudience } from "../../api/group.ts";
import { PROGRESS_MAX_BYTES, PROGRESS_PATH, ProgressReport } from "../../api/progress.ts";
import { BodyBudget, readBody } from "./body.ts";
import { Limiter } from "./limiter.ts";
import { Sequences } from "./sequence.ts";
import { parseStrictJson } from "./strictjson.ts";
import { bearerToken, rememberingReviewer, type TokenReviewer } from "./tokens.ts";

/** What is known of a run by the UID of the object (ModelVersion or Dataset) that it works for. */
export interface Run {
  readonly task: "train" | "import";
  /** The present attempt. */
  readonly attempt: number;
  /**
   * UIDs of the live pods of that attempt's Job: owned by it, and not ended. A pod that is being deleted still reports
   * the checkpoint that it makes, until it has ended.
   */
  readonly podUids: ReadonlySet<string>;
  /** Epochs of a training, as its version wants them. */
  readonly epochs?: number;
  /** True once the run has its outcome: nothing more is taken. */
  readonly finished: boolean;
}

/** Why a report was taken or not; also the label of the metric. */
export type Verdict =
  | "accepted"
  | "repeated"
  | "not-found"
  | "method"
  | "media-type"
  | "throttled-address"
  | "unauthenticated"
  | "body"
  | "too-large"
  | "too-slow"
  | "malformed"
  | "unknown-run"
  | "finished-run"
  | "other-attempt"
  | "other-pod"
  | "throttled-run"
  | "out-of-order"
  | "unavailable";

export interface EndpointOptions {
  readonly port: number;
  /** Default: every address. */
  readonly host?: string;
  /** PEM. */
  readonly certificate: string;
  readonly key: string;
  readonly review: TokenReviewer;
  readonly runOf: (uid: string) => Run | undefined;
  /**
   * Takes a report. For an import's `report` the answer waits for its promise: it must have been written by then.
   * What it throws or rejects with is answered by 503, and the report may come again.
   */
  readonly sink: (uid: string, report: ProgressReport, podUid: string) => Promise<void> | void;
  /** False: everything is answered by 503, as while the lease is not held. */
  readonly isServing: () => boolean;
  readonly onVerdict?: (verdict: Verdict) => void;
  readonly onError?: (error: unknown) => void;
  /** Time for the whole body. Default 10 s. */
  readonly bodyTimeoutMs?: number;
}

export interface Endpoint {
  readonly port: number;
  /** Serves new connections with another certificate. */
  setCertificate(certificate: string, key: string): void;
  close(): Promise<void>;
}

/** A training report is small; only an import's report of many concepts is not. */
const TRAIN_MAX_BYTES = 64 * 1024;
const MEMORY_MAX_BYTES = 16 * 1024 * 1024;
const CONNECTIONS_MAX = 1_000;
const BODY_TIMEOUT_MS = 10_000;

const statusOf: Readonly<Record<Verdict, number>> = {
  accepted: 200,
  repeated: 200,
  "not-found": 404,
  method: 405,
  "media-type": 415,
  "throttled-address": 429,
  unauthenticated: 401,
  body: 400,
  "too-large": 413,
  "too-slow": 408,
  malformed: 422,
  "unknown-run": 404,
  "finished-run": 410,
  "other-attempt": 409,
  "other-pod": 403,
  "throttled-run": 429,
  "out-of-order": 409,
  unavailable: 503,
};

/** Verdicts that a well-behaved trainer does not cause: too many of them, and its address waits. */
const suspicious: ReadonlySet<Verdict> = new Set<Verdict>([
  "unauthenticated",
  "other-pod",
  "malformed",
  "too-large",
  "too-slow",
  "unknown-run",
]);

/** Resolves when it listens; rejects where the port is taken or the certificate is none. */
export const startEndpoint = async (options: EndpointOptions): Promise<Endpoint> => {
  const judge = judgeOf(options);
  const server = createServer(
    {
      cert: options.certificate,
      key: options.key,
      minVersion: "TLSv1.3",
      handshakeTimeout: 5_000,
      maxHeaderSize: 16 * 1024,
      headersTimeout: 5_000,
      requestTimeout: 15_000,
      connectionsCheckingInterval: 1_000,
      keepAliveTimeout: 60_000,
    },
    (request, response) => {
      judge(request)
        .catch((error: unknown): Verdict => {
          options.onError?.(error);
          return "unavailable";
        })
        .then((verdict) => {
          options.onVerdict?.(verdict);
          answer(request, response, verdict);
        });
    },
  );
  server.maxConnections = CONNECTIONS_MAX;
  // Closes connections that say nothing at all; a trainer that was silent for longer opens another.
  server.setTimeout(15_000);
  server.on("tlsClientError", (_error, socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    setCertificate: (cert, key) => server.setSecureContext({ cert, key, minVersion: "TLSv1.3" }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeIdleConnections();
        setTimeout(() => server.closeAllConnections(), 2_000).unref();
      }),
  };
};

/** The checks, cheap ones first: nothing is read, parsed or asked that an earlier check makes needless. */
const judgeOf = (options: EndpointOptions) => {
  const budget = new BodyBudget(MEMORY_MAX_BYTES);
  const failures = new Limiter({ perSecond: 1, burst: 60, names: 10_000 });
  const authorize = authorizationOf(options);
  const judge = async (request: IncomingMessage): Promise<Verdict> => {
    const token = bearerToken(request.headers.authorization);
    if (token === undefined) return "unauthenticated";
    const timeoutMs = options.bodyTimeoutMs ?? BODY_TIMEOUT_MS;
    const body = await readBody(request, PROGRESS_MAX_BYTES, timeoutMs, budget);
    if (!body.ok) return bodyVerdicts[body.status];
    const json = parseStrictJson(body.bytes);
    const parsed = json.ok ? ProgressReport.safeParse(json.value) : undefined;
    if (parsed?.success !== true) return "malformed";
    const report = parsed.data;
    if (report.task === "train" && body.bytes.length > TRAIN_MAX_BYTES) return "too-large";
    const digest = createHash("sha256").update(body.bytes).digest("base64");
    return authorize(token, report, digest);
  };
  return async (request: IncomingMessage): Promise<Verdict> => {
    const refused = refusedHead(request);
    if (refused !== undefined) return refused;
    if (!options.isServing()) return "unavailable";
    const address = request.socket.remoteAddress ?? "";
    if (!failures.has(address)) return "throttled-address";
    const verdict = await judge(request);
    if (suspicious.has(verdict)) failures.take(address);
    return verdict;
  };
};

const refusedHead = ({ url, method, headers }: IncomingMessage): Verdict | undefined => {
  if (url !== PROGRESS_PATH) return "not-found";
  if (method !== "POST") return "method";
  const type = (headers["content-type"] ?? "").split(";")[0]?.trim().toLowerCase();
  if (type !== "application/json" || headers["content-encoding"] !== undefined) return "media-type";
  return undefined;
};

const bodyVerdicts = {
  400: "body",
  408: "too-slow",
  413: "too-large",
  503: "unavailable",
} as const satisfies Record<number, Verdict>;

/** Everything about the run: what the caches know first, then what the API server must be asked. */
const authorizationOf = (options: EndpointOptions) => {
  const review = rememberingReviewer(options.review);
  const rates = new Limiter({ perSecond: 10, burst: 50, names: 20_000 });
  const sequences = new Sequences();
  const standing = (report: ProgressReport): Verdict | Run => {
    const run = options.runOf(report.uid);
    if (run === undefined || run.task !== report.task) return "unknown-run";
    if (run.finished) return "finished-run";
    return run.attempt === report.attempt ? run : "other-attempt";
  };
  return async (token: string, report: ProgressReport, digest: string): Promise<Verdict> => {
    const { uid } = report;
    const before = standing(report);
    if (typeof before === "string") return before;
    const reviewed = await review(token, progressAudience(uid));
    if (reviewed === undefined) return "unauthenticated";
    // The API server took its time: the run may have ended meanwhile.
    const run = standing(report);
    if (typeof run === "string") return run;
    if (!run.podUids.has(reviewed.podUid)) return "other-pod";
    if (!isOfRun(report, run)) return "malformed";
    if (!rates.take(uid)) return "throttled-run";
    const order = sequences.claim(uid, reviewed.podUid, report, digest);
    if (order === "pending") return "unavailable";
    if (order !== "newer") return order === "same" ? "repeated" : "out-of-order";
    try {
      const kept = options.sink(uid, report, reviewed.podUid);
      if (report.event.type === "report") await kept;
      else Promise.resolve(kept).catch((error: unknown) => options.onError?.(error));
      sequences.settle(uid, report);
    } catch (error) {
      sequences.release(uid, report);
      throw error;
    }
    return "accepted";
  };
};

/** A training counts to the epochs that it was told to train, and no further. */
const isOfRun = ({ event }: ProgressReport, { epochs }: Run): boolean => {
  if (epochs === undefined) return true;
  if (event.type === "checkpoint") return event.epoch <= epochs;
  return !("epochs" in event) || event.epochs === epochs;
};

const answer = (request: IncomingMessage, response: ServerResponse, verdict: Verdict): void => {
  const status = statusOf[verdict];
  const headers: Record<string, string> = { "content-type": "text/plain; charset=utf-8" };
  if (status === 429 || status === 503) headers["retry-after"] = "2";
  if (status === 405) headers.allow = "POST";
  // What is left of a refused body is not read: the connection ends with the answer.
  if (!request.complete) headers.connection = "close";
  response.writeHead(status, headers);
  response.end(status === 200 ? "ok\n" : "refused\n");
};
