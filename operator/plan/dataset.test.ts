import { describe, expect, test } from "vitest";
import { canonicalDigest } from "../../api/canonical.ts";
import {
  type Dataset,
  type DatasetReport,
  type DatasetStatus,
  DatasetStatus as StatusSchema,
} from "../../api/dataset.ts";
import { importInputsHash } from "../../api/inputs.ts";
import type { ImportEvent } from "../../api/progress.ts";
import { condition } from "./conditions.ts";
import { type DatasetWorld, planDataset } from "./dataset.ts";
import { importJobName } from "./importjob.ts";
import type { Mail } from "./mail.ts";
import type { Plan } from "./plan.ts";
import {
  at,
  claim,
  complete,
  dataset,
  datasetSpec,
  digestOf,
  failed,
  job,
  pod,
  report,
  settings,
  T0,
  withBoxes,
} from "./testing/gen.ts";
import { brokenInvariants } from "./testing/invariants.ts";

const owner = { kind: "Dataset" as const, name: "photos", uid: "uid-photos" };
const hash = importInputsHash(datasetSpec);
const first = importJobName("photos", hash, 1);

const world = (given: Partial<DatasetWorld> = {}): DatasetWorld => ({
  dataset: dataset(),
  jobs: [],
  pods: [],
  events: [],
  claim,
  mails: [],
  refusals: [],
  settings,
  now: at(200),
  ...given,
});

const planned = (given: DatasetWorld): Plan<DatasetStatus> & { status: DatasetStatus } => {
  const plan = planDataset(given);
  if (plan.status === undefined) throw new Error("no status");
  const { metadata } = given.dataset;
  expect(brokenInvariants({ metadata, status: plan.status })).toEqual([]);
  expect(StatusSchema.parse(plan.status)).toEqual(plan.status);
  return { ...plan, status: plan.status };
};

const ready = ({ status }: { status: DatasetStatus }): string => {
  const found = condition(status, "Ready");
  return `${found?.status} ${found?.reason}`;
};
const message = ({ status }: { status: DatasetStatus }) =>
  condition(status, "Ready")?.message ?? "";
const effects = (plan: Plan<DatasetStatus>): string[] =>
  plan.effects.map((effect) =>
    effect.verb === "create" ? `create ${effect.object.metadata.name}` : `delete ${effect.name}`,
  );

const mail = (event: ImportEvent, attempt = 1, sequence = 1): Mail => ({
  podUid: "pod-1",
  receivedAt: at(150),
  report: { task: "import", uid: "uid-photos", attempt, sequence, event },
});

const record = (data: DatasetReport, attempt = 1) =>
  JSON.stringify({
    task: "import",
    uid: "uid-photos",
    attempt,
    outcome: "published",
    digest: data.digest,
    splitDigest: data.splitDigest,
    items: data.items,
    invalid: 0,
    bytes: data.bytes,
    reportDigest: canonicalDigest(data),
  });
const refusedRecord = (reason: string, text: string, more: object = {}) =>
  JSON.stringify({
    task: "import",
    uid: "uid-photos",
    attempt: 1,
    outcome: "failed",
    reason,
    message: text,
    ...more,
  });

/** After a first pass that created the Job. */
const begun = planned(world()).status;

const endedBy = (
  exit: { code: number; reason?: string; message?: string } | undefined,
  given: Partial<DatasetWorld> & { name?: string } = {},
) =>
  planned(
    world({
      dataset: dataset({ status: begun }),
      jobs: [
        job(given.name ?? first, { owner, conditions: exit?.code === 0 ? complete : failed() }),
      ],
      pods: exit === undefined ? [] : [pod({ job: given.name ?? first, exit })],
      ...given,
    }),
  );

/** Imported, with these data. */
const imported = (data = report()): DatasetStatus =>
  endedBy({ code: 0, message: record(data) }, { mails: [mail({ type: "report", report: data })] })
    .status;

describe("an import", () => {
  test("begins with the claim, if there is none, and a Job", () => {
    expect(effects(planned(world({ claim: undefined })))).toEqual([
      "create deeptrain-store",
      `create ${first}`,
    ]);
    const plan = planned(world());
    expect(effects(plan)).toEqual([`create ${first}`]);
    expect(first).toMatch(/^photos-import-[0-9a-f]{8}$/);
    expect(ready(plan)).toBe("Unknown Importing");
    expect(plan.status.import).toMatchObject({
      attempt: 1,
      counted: 0,
      job: first,
      inputsHash: hash,
    });
  });

  test("shows what it does", () => {
    const plan = planned(
      world({
        dataset: dataset({ status: begun }),
        jobs: [job(first, { owner })],
        pods: [pod({ job: first, running: true })],
        mails: [mail({ type: "import", phase: "checking", done: 30, total: 120 })],
      }),
    );
    expect(plan.status.import).toMatchObject({ phase: "checking", done: 30, total: 120 });
    expect(plan.status.summary).toBe("checking 25%");
    expect(plan.effects).toEqual([]);
  });

  test("a pod whose node is lost: said, with what to do, and looked at again", () => {
    const dying = (seconds: number, given: Partial<DatasetWorld> = {}) =>
      planned(
        world({
          dataset: dataset({ status: begun }),
          jobs: [job(first, { owner })],
          pods: [
            pod({ job: first, running: true, meta: { deletionTimestamp: at(200 - seconds) } }),
          ],
          ...given,
        }),
      );
    expect([ready(dying(10)), dying(10).nextMs]).toEqual(["Unknown Importing", 30_000]);
    const lost = dying(7200);
    expect([ready(lost), lost.effects]).toEqual(["Unknown PodLost", []]);
    expect(message(lost)).toMatch(/node-1.*--force.*import/);
    expect(lost.nextMs).toBe(30_000);
    const stopping = { jobs: [job(first, { owner, meta: { deletionTimestamp: T0 } })] };
    expect(dying(10, stopping).nextMs).toBe(30_000);
    expect(ready(dying(90, stopping))).toBe("Unknown PodLost");
  });

  test("completes with its record and the report that fits it", () => {
    const data = report();
    const status = imported(data);
    expect(ready({ status })).toBe("True Imported");
    expect(status).toMatchObject({ data, dataInputsHash: hash, summary: "1520 items, 2 concepts" });
    expect(status.import?.report).toBeUndefined();
    const again = planned(world({ dataset: dataset({ status }), now: at(9999) }));
    expect([again.effects, again.status, again.events]).toEqual([[], status, []]);
  });

  test("tells boxes and videos in its summary", () => {
    expect(imported(withBoxes(report())).summary).toBe("1520 items, 2 concepts, 1520 boxes");
    expect(imported({ ...report(), videos: 30 }).summary).toBe(
      "1520 frames of 30 videos, 2 concepts",
    );
    const huge = {
      ...withBoxes(
        report("a", Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`c${i}`, 100_000]))),
      ),
      videos: 1_000_000_000,
    };
    expect(imported(huge).summary?.length).toBeLessThanOrEqual(96);
  });

  test("a report that was written before the operator died counts", () => {
    const data = report();
    const told = planned(
      world({
        dataset: dataset({ status: begun }),
        jobs: [job(first, { owner })],
        pods: [pod({ job: first, running: true })],
        mails: [mail({ type: "report", report: data })],
      }),
    ).status;
    const plan = endedBy(
      { code: 0, message: record(data) },
      { dataset: dataset({ status: told }) },
    );
    expect(ready(plan)).toBe("True Imported");
  });

  test.each([
    ["no report", []],
    ["another report", [mail({ type: "report", report: report("b") })]],
    ["a report of another attempt", [mail({ type: "report", report: report() }, 2)]],
  ])("%s: repeated", (_, mails) => {
    const plan = endedBy({ code: 0, message: record(report()) }, { mails });
    expect(ready(plan)).toBe("Unknown RetryingAfterFailure");
    expect(plan.status.data).toBeUndefined();
  });

  test("warnings of the data are shown", () => {
    const data = {
      ...report(),
      warnings: [{ reason: "DuplicatesAcrossSplits" as const, message: "3 items" }],
    };
    expect(condition(imported(data), "DataWarning")).toMatchObject({
      reason: "DuplicatesAcrossSplits",
      message: "3 items",
    });
  });

  test("a name that is taken by somebody else is a conflict, and ours once it is free", () => {
    const plan = planned(
      world({
        refusals: [{ kind: "Job", name: first, reason: "NameConflict", message: "a Job exists" }],
      }),
    );
    expect([ready(plan), plan.effects]).toEqual(["False NameConflict", []]);
    const free = planned(world({ dataset: dataset({ status: plan.status }) }));
    expect(effects(free)).toEqual([`create ${first}`]);
  });

  test("a Job that was created before the status could be written is found", () => {
    const plan = planned(
      world({ jobs: [job(first, { owner })], pods: [pod({ job: first, running: true })] }),
    );
    expect([effects(plan), plan.status.import?.attempt]).toEqual([[], 1]);
  });

  test("a Dataset that is being deleted is left alone", () => {
    expect(planDataset(world({ dataset: dataset({ meta: { deletionTimestamp: T0 } }) }))).toEqual({
      effects: [],
      events: [],
    });
  });
});

describe("an input at fault", () => {
  test.each([
    ["SourceNotFound", "http://data.test/photos.tar.gz: 404", "correct spec.source; "],
    ["SourceForbidden", "leads to the loopback address 127.0.0.1", "another place in spec.source"],
    ["DownloadFailed", "http://data.test/photos.tar.gz: HTTP 403", "what answers there"],
    ["ChecksumMismatch", "sha256 is 12, not 34", "correct spec.source.http.sha256"],
    [
      "ArchiveInvalid",
      "the archive ends in the middle of a file",
      "correct the data at the source",
    ],
    ["ArchiveTooLarge", "more than 100 bytes", "divide it into several Datasets"],
    ["NoData", "no image was found", "correct the data at the source"],
    ["NoPositives", "no usable item shows owl", "correct the data at the source"],
    ["ConceptsMismatch", "missing in the data: owl", "correct spec.concepts"],
    ["InputInvalid", "spec.splits.ratios: they add up to 1.1", "correct the spec"],
    ["InvalidDataToleranceExceeded", "7 of 20", "raise spec.tolerance.invalidPercent"],
  ])("%s: stalled at once, with the reason and what to do", (reason, text, cure) => {
    const plan = endedBy({ code: 42, message: refusedRecord(reason, text) });
    expect(ready(plan)).toBe(`False ${reason}`);
    expect(message(plan)).toContain(text);
    expect(message(plan)).toContain(cure);
    expect(message(plan).includes("invalidPercent")).toBe(
      reason === "InvalidDataToleranceExceeded",
    );
    // What is corrected behind the same spec is imported when it is asked for: the message must say so.
    expect(message(plan).includes("deeptrain.dev/retry")).toBe(reason !== "ArchiveTooLarge");
    const again = planned(world({ dataset: dataset({ status: plan.status }), now: at(9999) }));
    expect([again.effects, again.status]).toEqual([[], plan.status]);
  });

  test("the first bad items are named", () => {
    const plan = endedBy({
      code: 42,
      message: refusedRecord("InvalidDataToleranceExceeded", "7 of 20 items are invalid", {
        badItems: [{ path: "train/cat/broken.png", problem: "does not decode" }],
      }),
    });
    expect(message(plan)).toMatch(/7 of 20.*train\/cat\/broken\.png: does not decode/);
  });

  test("however much is wrong, what to do is said", () => {
    const badItems = Array.from({ length: 5 }, (_, n) => ({
      path: `${n}${"p".repeat(199)}`,
      problem: "x".repeat(120),
    }));
    const plan = endedBy({
      code: 42,
      message: refusedRecord("InvalidDataToleranceExceeded", "7 of 20", { badItems }),
    });
    expect(message(plan)).toHaveLength(1024);
    expect(message(plan)).toMatch(/^7 of 20.*; raise spec\.tolerance\..* to a new value$/);
  });

  test("a mended source is imported on a retry, as the next attempt", () => {
    const stalled = endedBy({ code: 42, message: refusedRecord("SourceNotFound", "404") }).status;
    const asked = (value: string) =>
      dataset({ meta: { annotations: { "deeptrain.dev/retry": value } }, status: stalled });
    const plan = planned(world({ dataset: asked("1") }));
    expect(effects(plan)).toEqual([`create ${first}-a2`]);
    expect(plan.status).toMatchObject({
      lastHandledRetry: "1",
      import: { attempt: 2, counted: 0 },
    });
  });

  test("a spec that no rule lets in is not accepted, and imports once it is mended", () => {
    const both = { source: { http: datasetSpec.source.http, pvc: { claimName: "c" } } };
    const plan = planned(world({ dataset: dataset({ spec: both }) }));
    expect([ready(plan), plan.effects]).toEqual(["False InputInvalid", []]);
    expect(condition(plan.status, "Accepted")?.status).toBe("False");
    expect(message(plan)).toContain("spec.source");
    expect(effects(planned(world({ dataset: dataset({ status: plan.status }) })))).toEqual([
      `create ${first}`,
    ]);
  });

  test("a bad edit during an import, taken back, does not fail it", () => {
    const both = { source: { http: datasetSpec.source.http, pvc: { claimName: "c" } } };
    const jobs = [job(first, { owner })];
    const pods = [pod({ job: first, running: true })];
    const bad = planned(world({ dataset: dataset({ spec: both, status: begun }), jobs, pods }));
    const back = planned(world({ dataset: dataset({ status: bad.status }), jobs, pods }));
    expect([ready(back), effects(back)]).toEqual(["Unknown Importing", []]);
  });
});

describe("a failure that may pass", () => {
  test.each([
    ["DownloadFailed", { code: 1, message: refusedRecord("DownloadFailed", "connection reset") }],
    ["PodLost", undefined],
    ["PodLost", { code: 137 }],
    ["ImportFailed", { code: 1 }],
  ] as const)("%s is tried three times, after 10 s and a minute", (reason, exit) => {
    let plan = endedBy(exit);
    expect(ready(plan)).toBe("Unknown RetryingAfterFailure");
    expect(message(plan)).toContain(reason);
    expect([plan.status.import?.retryAt, plan.nextMs]).toEqual([at(210), 10_000]);
    for (const [number, now] of [
      [2, 210],
      [3, 400],
    ] as const) {
      const name = importJobName("photos", hash, number);
      expect(
        effects(
          planned(
            world({
              dataset: dataset({ status: plan.status }),
              now: at(now - (number === 2 ? 1 : 150)),
            }),
          ),
        ),
      ).toEqual([]);
      const next = planned(world({ dataset: dataset({ status: plan.status }), now: at(now) }));
      expect(effects(next)).toEqual([`create ${name}`]);
      const record =
        exit && "message" in exit
          ? exit.message.replace('"attempt":1', `"attempt":${number}`)
          : undefined;
      plan = endedBy(exit && { ...exit, ...(record === undefined ? {} : { message: record }) }, {
        name,
        dataset: dataset({ status: next.status }),
        now: at(now),
      });
    }
    expect(ready(plan)).toBe(`False ${reason}`);
    expect(message(plan)).toContain("deeptrain.dev/retry");
  });

  test.each([
    ["the kernel", { code: 137, reason: "OOMKilled" }],
    ["itself", { code: 1, message: refusedRecord("OutOfMemory", "it ran out of memory") }],
  ])("ended by %s for want of memory, it waits for more and for being asked", (_, exit) => {
    const plan = endedBy(exit);
    expect(ready(plan)).toBe("False OutOfMemory");
    expect(message(plan)).toContain("the operator's --import-memory (2Gi now)");
    const later = { settings: { ...settings, importMemory: "6Gi" }, now: at(9999) };
    const alone = planned(world({ dataset: dataset({ status: plan.status }), ...later }));
    expect(alone.effects).toEqual([]);
    const asked = { annotations: { "deeptrain.dev/retry": "more memory" } };
    const again = planned(
      world({ dataset: dataset({ meta: asked, status: plan.status }), ...later }),
    );
    expect(effects(again)).toEqual([`create ${first}-a2`]);
    const text = JSON.stringify(again.effects);
    expect(text).toContain('"limits":{"cpu":"1","memory":"6Gi"}');
    expect(text).toContain(`\\"items\\":${5 * 2 ** 20}`);
  });

  test("a Job that somebody deleted is made again", () => {
    const plan = planned(world({ dataset: dataset({ status: begun }) }));
    expect(ready(plan)).toBe("Unknown RetryingAfterFailure");
    expect(plan.status.import?.counted).toBe(1);
  });

  test("a quota is waited for", () => {
    const plan = planned(
      world({
        refusals: [
          { kind: "Job", name: first, reason: "QuotaExceeded", message: "exceeded quota" },
        ],
      }),
    );
    expect(ready(plan)).toBe("Unknown QuotaExceeded");
    expect(effects(planned(world({ dataset: dataset({ status: plan.status }) })))).toEqual([
      `create ${first}`,
    ]);
  });
});

describe("a changed spec", () => {
  const other: Partial<Dataset["spec"]> = {
    source: { http: { url: "http://data.test/new.tar.gz" } },
  };
  const otherHash = importInputsHash({ ...datasetSpec, ...other });

  test("replaces the running import", () => {
    const plan = planned(
      world({
        dataset: dataset({ meta: { generation: 2 }, spec: other, status: begun }),
        jobs: [job(first, { owner })],
        pods: [pod({ job: first, running: true })],
      }),
    );
    expect(effects(plan)).toEqual([
      `delete ${first}`,
      `create ${importJobName("photos", otherHash, 2)}`,
    ]);
    expect(plan.status.import).toMatchObject({ attempt: 2, counted: 0, inputsHash: otherHash });
  });

  test("keeps the data until the next are whole", () => {
    const status = imported();
    const plan = planned(
      world({ dataset: dataset({ meta: { generation: 2 }, spec: other, status }) }),
    );
    expect(ready(plan)).toBe("Unknown Importing");
    expect(plan.status.data).toEqual(report());
    expect(plan.status.dataInputsHash).toBe(hash);
  });

  test("taken back before the next import ends, it settles without one", () => {
    const changed = planned(
      world({ dataset: dataset({ meta: { generation: 2 }, spec: other, status: imported() }) }),
    );
    const name = importJobName("photos", otherHash, 2);
    const back = planned(
      world({
        dataset: dataset({ meta: { generation: 3 }, status: changed.status }),
        jobs: [job(name, { owner })],
      }),
    );
    expect([ready(back), effects(back)]).toEqual(["True Imported", [`delete ${name}`]]);
  });

  test("that imports nothing else changes nothing", () => {
    const status = imported();
    const plan = planned(
      world({
        dataset: dataset({ meta: { generation: 2 }, spec: { splits: { seed: 0 } }, status }),
      }),
    );
    expect([ready(plan), plan.effects]).toEqual(["True Imported", []]);
  });

  test("equal data of another source are the same data", () => {
    expect(imported(report()).data?.digest).toBe(digestOf("a"));
  });
});
