import { type IncomingHttpHeaders, request as plainRequest } from "node:http";
import { Agent, request } from "node:https";
import { connect } from "node:tls";
import { gzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { progressAudience } from "../../api/group.ts";
import { PROGRESS_PATH, type ProgressReport } from "../../api/progress.ts";
import {
  type Endpoint,
  type EndpointOptions,
  type Run,
  startEndpoint,
  type Verdict,
} from "./endpoint.ts";
import { authorityCertificate, newKey, serverIdentity } from "./x509.ts";

const uid = "11111111-2222-3333-4444-555555555555";
const other = "99999999-2222-3333-4444-555555555555";
const position = { epoch: 1, epochs: 10, step: 20, steps: 200 };
const stepEvent = { type: "step", ...position, loss: 0.5, lrate: 0.01, imagesPerSecond: 100 };
const reportOf = (sequence: number, extra: Record<string, unknown> = {}) => ({
  task: "train",
  uid,
  attempt: 1,
  sequence,
  event: stepEvent,
  ...extra,
});
const epochEvent = { ...stepEvent, type: "epoch", seconds: 9, validation: { top1: 0.5 } };
const evaluation = { type: "evaluation", split: "test", values: { top1: 0.5 }, concepts: [] };
const started = {
  type: "started",
  ...position,
  threads: 2,
  device: "cpu",
  precision: "fp32",
};
const cat = { concept: "cat", support: 3 };
const eventOf = (event: object): string => JSON.stringify(reportOf(1, { event }));
const digest = `sha256:${"a".repeat(64)}`;
const importReport = {
  type: "report",
  report: {
    digest,
    splitDigest: digest,
    items: { train: 8, validation: 1, test: 1 },
    concepts: [{ name: "cat", train: 8, validation: 1, test: 1 }],
    invalid: 0,
    badItems: [],
    bytes: 1000,
    warnings: [],
  },
};

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly headers: IncomingHttpHeaders;
}

describe("the progress endpoint", () => {
  const authority = { key: newKey(), commonName: "test" };
  const ca = authorityCertificate(authority.key, "test", 10, Date.now());
  const identity = serverIdentity(authority, ["localhost", "127.0.0.1"], 10, Date.now());
  /** What the API server says: `token audience` -> pod. */
  const tokens = new Map<string, string>();
  let endpoint: Endpoint;
  let agent: Agent;
  let runs: Map<string, Run>;
  let taken: Array<[string, ProgressReport]>;
  let verdicts: Verdict[];
  let reviews: number;
  let isServing: boolean;
  let sink: EndpointOptions["sink"];
  let review: (() => Promise<void>) | undefined;

  const run = (extra: Partial<Run> = {}): Run => ({
    task: "train",
    attempt: 1,
    podUids: new Set(["pod-1"]),
    finished: false,
    ...extra,
  });

  beforeAll(() => {
    agent = new Agent({ ca, keepAlive: true });
  });
  afterAll(() => agent.destroy());
  beforeEach(async () => {
    runs = new Map([[uid, run()]]);
    tokens.clear();
    tokens.set(`good ${progressAudience(uid)}`, "pod-1");
    tokens.set(`neighbour ${progressAudience(uid)}`, "pod-2");
    tokens.set(`good ${progressAudience(other)}`, "pod-9");
    [taken, verdicts, reviews, isServing, review] = [[], [], 0, true, undefined];
    sink = (to, report) => void taken.push([to, report]);
    endpoint = await startEndpoint({
      port: 0,
      host: "127.0.0.1",
      certificate: identity.certificate,
      key: identity.key,
      review: async (token, audience) => {
        reviews += 1;
        await review?.();
        const podUid = tokens.get(`${token} ${audience}`);
        return podUid === undefined ? undefined : { podUid };
      },
      runOf: (of) => runs.get(of),
      sink: (to, report, podUid) => sink(to, report, podUid),
      isServing: () => isServing,
      onVerdict: (verdict) => verdicts.push(verdict),
      bodyTimeoutMs: 500,
    });
  });
  afterEach(async () => {
    agent.destroy();
    agent = new Agent({ ca, keepAlive: true });
    await endpoint.close();
  });

  const send = (
    body: string | Buffer | undefined,
    options: {
      headers?: Record<string, string>;
      method?: string;
      path?: string;
      token?: string;
    } = {},
  ): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const headers: Record<string, string> = {
        "content-type": "application/json",
        authorization: `Bearer ${options.token ?? "good"}`,
        ...options.headers,
      };
      if (headers.authorization === "") delete headers.authorization;
      const outgoing = request(
        {
          agent,
          port: endpoint.port,
          host: "127.0.0.1",
          method: options.method ?? "POST",
          path: options.path ?? PROGRESS_PATH,
          headers,
        },
        (response) => {
          let text = "";
          response.setEncoding("utf8");
          response.on("data", (chunk: string) => {
            text += chunk;
          });
          response.once("end", () =>
            resolve({ status: response.statusCode ?? 0, body: text, headers: response.headers }),
          );
        },
      );
      outgoing.once("error", reject);
      outgoing.end(body);
    });
  const post = (report: unknown, options: Parameters<typeof send>[1] = {}) =>
    send(JSON.stringify(report), options);

  it("takes a report of the run's own live pod", async () => {
    expect(await post(reportOf(1))).toMatchObject({ status: 200, body: "ok\n" });
    expect(taken).toEqual([[uid, reportOf(1)]]);
    expect(verdicts).toEqual(["accepted"]);
  });

  it.each<[string, string | undefined, number]>([
    ["no header", "", 401],
    ["a wrong scheme", "Basic YTpi", 401],
    ["a malformed one", "Bearer a b", 401],
    ["a forged or expired one", "Bearer forged", 401],
    ["one of another run", "Bearer elsewhere", 401],
    ["one of another pod in the namespace", "Bearer neighbour", 403],
  ])("refuses a token: %s", async (_, authorization, status) => {
    tokens.set(`elsewhere ${progressAudience(other)}`, "pod-1");
    const answer = await post(reportOf(1), { headers: { authorization: authorization ?? "" } });
    expect(answer).toMatchObject({ status, body: "refused\n" });
    expect(taken).toEqual([]);
  });

  it("refuses a good token for the report of another run", async () => {
    runs.set(other, run({ podUids: new Set(["pod-7"]) }));
    const answer = await post(reportOf(1, { uid: other }));
    expect(answer.status).toBe(403);
    expect(taken).toEqual([]);
  });

  it("refuses the token of a deleted pod, though the API server still takes it", async () => {
    expect((await post(reportOf(1))).status).toBe(200);
    runs.set(uid, run({ podUids: new Set() }));
    expect((await post(reportOf(2))).status).toBe(403);
  });

  it("refuses a pod of a former attempt, and a report of one", async () => {
    runs.set(uid, run({ attempt: 2, podUids: new Set(["pod-5"]) }));
    expect((await post(reportOf(1))).status).toBe(409);
    expect((await post(reportOf(1, { attempt: 2 }))).status).toBe(403);
  });

  it("answers 404 for a run that is unknown or of another task, 410 for one that has ended; and asks nobody", async () => {
    runs.clear();
    expect((await post(reportOf(1))).status).toBe(404);
    runs.set(uid, run({ task: "import" }));
    expect((await post(reportOf(1))).status).toBe(404);
    runs.set(uid, run({ finished: true }));
    expect((await post(reportOf(1))).status).toBe(410);
    expect(reviews).toBe(0);
  });

  it("looks again after the review: a run that ended meanwhile takes nothing", async () => {
    review = async () => void runs.set(uid, run({ finished: true }));
    expect((await post(reportOf(1))).status).toBe(410);
    expect(taken).toEqual([]);
  });

  it("takes only what is newer: replayed and late reports change nothing", async () => {
    for (const sequence of [1, 2, 5]) {
      expect((await post(reportOf(sequence))).status).toBe(200);
    }
    expect((await post(reportOf(4))).status).toBe(409);
    expect((await post(reportOf(5, { event: { ...stepEvent, step: 1 } }))).status).toBe(409);
    expect((await post(reportOf(1))).status).toBe(409);
    expect(taken.map(([, { sequence }]) => sequence)).toEqual([1, 2, 5]);
  });

  it("lets a pod that replaces another in the same attempt count from the beginning", async () => {
    expect((await post(reportOf(50))).status).toBe(200);
    runs.set(uid, run({ podUids: new Set(["pod-2"]) }));
    expect((await post(reportOf(1), { token: "neighbour" })).status).toBe(200);
    expect(
      (await post(reportOf(1, { event: { ...stepEvent, loss: 0.9 } }), { token: "neighbour" }))
        .status,
    ).toBe(409);
    expect((await post(reportOf(51))).status).toBe(403);
  });

  it("answers a repeated report with ok once more, and keeps it once", async () => {
    await post(reportOf(1));
    expect((await post(reportOf(1))).status).toBe(200);
    expect(taken).toHaveLength(1);
    expect(verdicts).toEqual(["accepted", "repeated"]);
  });

  it("lets one of two reports with one number win", async () => {
    const answers = await Promise.all([
      post(reportOf(1)),
      post(reportOf(1, { event: { ...stepEvent, loss: 0.9 } })),
    ]);
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409]);
    expect(taken).toHaveLength(1);
  });

  it.each<[string, string]>([
    ["no JSON", "hello"],
    ["nothing", ""],
    ["an unknown field", JSON.stringify({ ...reportOf(1), extra: 1 })],
    ["an unknown field inside", JSON.stringify(reportOf(1, { event: { ...stepEvent, x: 1 } }))],
    ["an unknown event", JSON.stringify(reportOf(1, { event: { type: "exec" } }))],
    ["a repeated key", JSON.stringify(reportOf(1)).replace('"task"', '"uid":"x","task"')],
    ["trailing data", `${JSON.stringify(reportOf(1))}{}`],
    ["__proto__", JSON.stringify(reportOf(1)).replace('"task"', '"__proto__":{},"task"')],
    ["NaN", JSON.stringify(reportOf(1)).replace('"loss":0.5', '"loss":NaN')],
    ["1e400", JSON.stringify(reportOf(1)).replace('"loss":0.5', '"loss":1e400')],
    ["a negative count", JSON.stringify(reportOf(1, { event: { ...stepEvent, step: -1 } }))],
    ["half a step", JSON.stringify(reportOf(1, { event: { ...stepEvent, step: 1.5 } }))],
    ["a number as text", JSON.stringify(reportOf(1, { event: { ...stepEvent, loss: "0.5" } }))],
    ["sequence 0", JSON.stringify(reportOf(0))],
    ["a long uid", JSON.stringify(reportOf(1, { uid: "u".repeat(65) }))],
    ["a list", JSON.stringify([reportOf(1)])],
    ["deep nesting", "[".repeat(50_000)],
    ["more epochs than there are", eventOf({ ...stepEvent, epoch: 11 })],
    ["more steps than there are", eventOf({ ...epochEvent, step: 201 })],
    ["a start after the end", eventOf({ ...started, epoch: 500, epochs: 6 })],
    ["a share above 1", eventOf({ ...epochEvent, validation: { top1: 7 } })],
    ["a negative share", eventOf({ ...evaluation, values: { macro_ap: -0.1 } })],
    ["a negative loss", eventOf({ ...evaluation, values: { log_loss: -1 } })],
    ["a negative loss of videos", eventOf({ ...evaluation, values: { video_log_loss: -1 } })],
    ["an average precision of -1", eventOf({ ...evaluation, values: { map_small: -1 } })],
    ["a silhouette below -1", eventOf({ ...evaluation, values: { silhouette: -1.1 } })],
    ["a concept's share above 1", eventOf({ ...evaluation, concepts: [{ ...cat, f1: 1.5 }] })],
    ["an unknown metric", eventOf({ ...evaluation, values: { accuracy: 0.5 } })],
  ])("refuses %s with 422", async (_, body) => {
    expect(await send(body)).toMatchObject({ status: 422, body: "refused\n" });
    expect(taken).toEqual([]);
    expect(reviews).toBe(0);
  });

  it("takes the ends of every range", async () => {
    const ends = { top1: 1, macro_ap: 0, log_loss: 12.5, map50: 1, silhouette: -1 };
    const events = [
      { ...epochEvent, epoch: 10, step: 200, validation: ends },
      { ...started, epoch: 10, step: 200 },
      { ...evaluation, values: ends, concepts: [{ ...cat, f1: 1, precision: 0 }] },
    ];
    for (const [n, event] of events.entries()) {
      expect((await post(reportOf(n + 1, { event }))).status).toBe(200);
    }
  });

  it("refuses what is not of the run's epochs, and counts it", async () => {
    runs.set(uid, run({ epochs: 6 }));
    const refused = [
      { ...epochEvent, epoch: 1, epochs: 10 },
      { ...stepEvent, epochs: 7 },
      { ...started, epochs: 5 },
      { type: "checkpoint", epoch: 7, step: 1 },
    ];
    for (const [n, event] of refused.entries()) {
      expect((await post(reportOf(n + 1, { event }))).status).toBe(422);
    }
    expect(taken).toEqual([]);
    expect(verdicts).toEqual(refused.map(() => "malformed"));
    expect((await post(reportOf(1, { event: { ...epochEvent, epochs: 6 } }))).status).toBe(200);
  });

  it("refuses a body that is too long, declared or not, and one that is too long for training", async () => {
    const large = "x".repeat(300_000);
    expect((await send(large, { headers: { "content-length": "300000" } })).status).toBe(413);
    const chunked = await send(large, { headers: { "transfer-encoding": "chunked" } }).catch(
      // The server may end the connection while the client still writes.
      () => ({ status: 413 }),
    );
    expect(chunked.status).toBe(413);
    const padded = `${JSON.stringify(reportOf(1))}${" ".repeat(70_000)}`;
    expect((await send(padded)).status).toBe(413);
    expect(verdicts.every((verdict) => verdict === "too-large")).toBe(true);
  });

  it("keeps its memory while large bodies are thrown at it", async () => {
    const large = Buffer.alloc(4 * 1024 * 1024, "x");
    const before = process.memoryUsage().rss;
    for (let round = 0; round < 10; round += 1) {
      await Promise.all(
        Array.from({ length: 5 }, () =>
          send(large, { headers: { "transfer-encoding": "chunked" } }).catch(() => undefined),
        ),
      );
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(150 * 1024 * 1024);
    expect(taken).toEqual([]);
  });

  it("refuses compressed and other content, other methods and other paths", async () => {
    const body = JSON.stringify(reportOf(1));
    const gzip = { headers: { "content-encoding": "gzip" } };
    expect((await send(gzipSync(body), gzip)).status).toBe(415);
    expect((await send(body, { headers: { "content-type": "text/plain" } })).status).toBe(415);
    expect((await send(undefined, { method: "GET" })).status).toBe(405);
    expect((await send(body, { path: `${PROGRESS_PATH}?x=1` })).status).toBe(404);
    expect((await send(body, { path: "/metrics" })).status).toBe(404);
    expect(
      (await send(body, { headers: { "content-type": "application/json; charset=utf-8" } })).status,
    ).toBe(200);
  });

  it("does not wait for a body that drips", async () => {
    const socket = connect({ port: endpoint.port, host: "127.0.0.1", ca });
    await new Promise((resolve) => socket.once("secureConnect", resolve));
    socket.write(
      `POST ${PROGRESS_PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n`,
    );
    const drip = setInterval(() => socket.write(" "), 50);
    const startedAt = performance.now();
    const answer = await new Promise<string>((resolve) =>
      socket.once("data", (data: Buffer) => resolve(data.toString())),
    );
    clearInterval(drip);
    socket.destroy();
    expect(answer).toContain("408");
    expect(performance.now() - startedAt).toBeLessThan(3_000);
  });

  it("speaks TLS 1.3 only", async () => {
    const socket = connect({ port: endpoint.port, host: "127.0.0.1", ca, maxVersion: "TLSv1.2" });
    const failed = await new Promise<boolean>((resolve) => {
      socket.once("secureConnect", () => resolve(false));
      socket.once("error", () => resolve(true));
    });
    expect(failed).toBe(true);
    const plain = await new Promise<boolean>((resolve) => {
      const outgoing = plainRequest({ port: endpoint.port, host: "127.0.0.1" }, () =>
        resolve(false),
      );
      outgoing.once("error", () => resolve(true));
      outgoing.end();
    });
    expect(plain).toBe(true);
    expect((await post(reportOf(1))).status).toBe(200);
  });

  it("slows one run that floods, not the others", async () => {
    runs.set(other, run({ podUids: new Set(["pod-9"]) }));
    const answers: number[] = [];
    for (let sequence = 1; sequence <= 300; sequence += 1) {
      answers.push((await post(reportOf(sequence))).status);
    }
    expect(answers.filter((status) => status === 429).length).toBeGreaterThan(150);
    expect(answers.slice(0, 40).every((status) => status === 200)).toBe(true);
    expect((await post(reportOf(1, { uid: other }))).status).toBe(200);
  });

  it("makes an address wait that is refused again and again", async () => {
    const answers: Answer[] = [];
    for (let n = 0; n < 80; n += 1) answers.push(await post(reportOf(1), { token: `forged${n}` }));
    expect(answers[0]?.status).toBe(401);
    expect(answers.at(-1)).toMatchObject({ status: 429, headers: { "retry-after": "2" } });
    expect(reviews).toBeLessThan(70);
  });

  it("asks the API server once in a while, not for every report", async () => {
    for (let sequence = 1; sequence <= 20; sequence += 1) await post(reportOf(sequence));
    expect(taken).toHaveLength(20);
    expect(reviews).toBe(1);
  });

  it("answers 503 while it may not serve, and while the API server cannot be asked", async () => {
    isServing = false;
    expect(await post(reportOf(1))).toMatchObject({ status: 503, headers: { "retry-after": "2" } });
    isServing = true;
    review = () => Promise.reject(new Error("down"));
    expect((await post(reportOf(1))).status).toBe(503);
    review = undefined;
    expect((await post(reportOf(1))).status).toBe(200);
  });

  describe("an import's report", () => {
    const report = (sequence: number) =>
      reportOf(sequence, { task: "import", event: importReport });
    beforeEach(() => {
      runs.set(uid, run({ task: "import" }));
    });

    it("is answered when it is written, not before", async () => {
      const kept = Promise.withResolvers<void>();
      sink = () => kept.promise;
      let answered = 0;
      const first = post(report(1)).then((answer) => {
        answered = answer.status;
      });
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(answered).toBe(0);
      // Sent again meanwhile, it is not acknowledged either.
      expect((await post(report(1))).status).toBe(503);
      kept.resolve();
      await first;
      expect(answered).toBe(200);
      expect((await post(report(1))).status).toBe(200);
    });

    it("may come again when it could not be written", async () => {
      sink = () => Promise.reject(new Error("conflict"));
      expect((await post(report(3))).status).toBe(503);
      sink = (to, kept) => void taken.push([to, kept]);
      expect((await post(report(3))).status).toBe(200);
      expect(taken).toHaveLength(1);
    });

    it("of a thousand concepts fits", async () => {
      const concepts = Array.from({ length: 1_000 }, (_, n) => ({
        name: `concept-${n}`.padEnd(64, "x"),
        train: 1_000_000,
        validation: 1_000_000,
        test: 1_000_000,
      }));
      const event = { ...importReport, report: { ...importReport.report, concepts } };
      expect((await post(reportOf(1, { task: "import", event }))).status).toBe(200);
    });
  });

  it("serves new connections with a new certificate", async () => {
    expect((await post(reportOf(1))).status).toBe(200);
    const renewed = serverIdentity(authority, ["127.0.0.1"], 20, Date.now());
    endpoint.setCertificate(renewed.certificate, renewed.key);
    agent.destroy();
    agent = new Agent({ ca });
    expect((await post(reportOf(2))).status).toBe(200);
  });
});
