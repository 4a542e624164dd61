// From progress reports to a version's progress, history and checkpoint. A report counts once, and only for the
// attempt that runs.

import type { Progress } from "../../api/deepmodel.ts";
import { ConceptMetrics } from "../../api/metrics.ts";
import type {
  Attempt,
  HistoryPoint,
  ModelVersion,
  ModelVersionStatus,
} from "../../api/modelversion.ts";
import type { TrainingEvent } from "../../api/progress.ts";
import { metricText, progressText } from "./display.ts";
import type { Mail } from "./mail.ts";

const RUNNING_POINTS = 60;
const SETTLED_POINTS = 12;
/** A version is kept small: the worst concepts in so many bytes, all of them in metrics.json. */
const RUNNING_CONCEPTS_BYTES = 9_000;
const SETTLED_CONCEPTS_BYTES = 2_300;

export type Told = Pick<
  ModelVersionStatus,
  | "progress"
  | "reported"
  | "history"
  | "checkpoint"
  | "lostSeconds"
  | "concepts"
  | "metric"
  | "base"
> & {
  /** What the run said of itself. */
  attempt?: Partial<Attempt>;
};

const parts = [
  "progress",
  "reported",
  "history",
  "checkpoint",
  "lostSeconds",
  "concepts",
  "metric",
  "base",
] as const;

/** A status without what only reports move. */
export const withoutProgress = (status: ModelVersionStatus): unknown => {
  const { progress: _, reported: __, history: ___, checkpoint: ____, ...rest } = status;
  const { concepts: _____, metric: ______, lostSeconds: _______, ...lifecycle } = rest;
  return lifecycle;
};

/** What was told until now. */
export const toldBefore = (status: ModelVersionStatus | undefined): Told => {
  const told: Told = {};
  for (const part of parts) Object.assign(told, pick(status, part));
  return told;
};

const pick = <K extends (typeof parts)[number]>(
  status: ModelVersionStatus | undefined,
  part: K,
): Partial<Pick<ModelVersionStatus, K>> => {
  const value = status?.[part];
  return value === undefined ? {} : ({ [part]: value } as Pick<ModelVersionStatus, K>);
};

/** Reads the reports of one attempt, in their order. */
export const readMails = (version: ModelVersion, attempt: number, mails: readonly Mail[]): Told => {
  let told = toldBefore(version.status);
  for (const { report, podUid, receivedAt } of mails) {
    if (report.task !== "train" || report.attempt !== attempt) continue;
    const reported = nextReported(
      told.reported,
      { attempt, sequence: report.sequence, podUid },
      receivedAt,
    );
    if (reported === undefined) continue;
    told = {
      ...told,
      // Told by the first report of another process, whatever it is about: the next one is of its own time.
      ...(isOfSamePod(told.reported, attempt, podUid) ? {} : lostWith(told)),
      ...afterEvent(version, told, report.event, receivedAt),
      reported,
    };
  }
  return told;
};

type Reported = NonNullable<ModelVersionStatus["reported"]>;

/**
 * Undefined for a report that is told already. A pod that replaces another in the same attempt, as after a preemption,
 * counts its reports anew.
 */
const nextReported = (
  last: Reported | undefined,
  { attempt, sequence, podUid }: { attempt: number; sequence: number; podUid: string },
  at: string,
): Reported | undefined => {
  const isSamePod = isOfSamePod(last, attempt, podUid);
  const isOld =
    last !== undefined && (last.attempt > attempt || (isSamePod && sequence <= last.sequence));
  if (isOld) return undefined;
  return { attempt, sequence, pod: podUid, since: (isSamePod ? last?.since : undefined) ?? at };
};

/** Where it is not known which pod sent the last one, it was this one. */
const isOfSamePod = (last: Reported | undefined, attempt: number, podUid: string): boolean =>
  last?.attempt === attempt && (last.pod ?? podUid) === podUid;

/** Seconds of training that a new process does again: what the one before told after its last checkpoint. */
const lostWith = ({ progress, checkpoint, reported, lostSeconds = 0 }: Told): Partial<Told> => {
  if (progress === undefined || reported?.since === undefined) return {};
  const kept = [reported.since, checkpoint?.savedAt ?? ""].map((time) => Date.parse(time) || 0);
  const lostMs = Date.parse(progress.updatedAt) - Math.max(...kept);
  return lostMs > 0 ? { lostSeconds: lostSeconds + Math.round(lostMs / 1000) } : {};
};

const nothingYet = {
  epoch: 0,
  epochs: 0,
  step: 0,
  steps: 0,
  percent: 0,
} satisfies Partial<Progress>;

const afterEvent = (
  version: ModelVersion,
  told: Told,
  event: TrainingEvent,
  at: string,
): Partial<Told> => {
  const before = {
    ...nothingYet,
    epochs: version.spec.hyperparameters.num_epochs,
    ...told.progress,
  };
  switch (event.type) {
    case "started": {
      const { threads, device, precision, epoch, step, base } = event;
      const { imagesPerSecond: _, etaSeconds: __, ...rest } = before;
      return {
        progress: shown({ ...rest, ...position(event) }, at),
        attempt: { threads, device, precision, startedFromStep: step },
        ...(base === undefined ? {} : { base }),
        // What came after the checkpoint that it goes on from is trained again.
        ...(told.history === undefined
          ? {}
          : { history: told.history.filter((point) => point.epoch <= epoch) }),
      };
    }
    case "phase":
      return { progress: shown({ ...before, phase: event.phase }, at) };
    case "step":
      return {
        progress: shown(
          { ...before, ...position(event), ...speed(event), loss: event.loss, lrate: rate(event) },
          at,
        ),
      };
    case "epoch":
      return afterEpoch(told, before, event, at);
    case "checkpoint":
      return { checkpoint: { epoch: event.epoch, step: event.step, savedAt: at } };
    case "evaluation":
      return {
        concepts: fitting(event.concepts, RUNNING_CONCEPTS_BYTES),
        ...metric(event.values),
      };
  }
};

const afterEpoch = (
  told: Told,
  before: Parameters<typeof shown>[0],
  event: Extract<TrainingEvent, { type: "epoch" }>,
  at: string,
): Partial<Told> => {
  const { epoch, loss, validation } = event;
  const known = loss === undefined ? {} : { loss };
  const point = rounded({
    epoch,
    ...known,
    lrate: rate(event),
    ...(validation === undefined ? {} : { validation }),
  });
  const history = [...(told.history ?? []).filter((each) => each.epoch < epoch), point];
  return {
    progress: shown(
      { ...before, ...position(event), ...speed(event), ...known, lrate: rate(event) },
      at,
    ),
    history: history.length <= RUNNING_POINTS ? history : halved(history),
    ...metric(validation),
  };
};

const metric = (values: Parameters<typeof metricText>[0]) => {
  const text = metricText(values);
  return text === undefined ? {} : { metric: text };
};

const rate = ({ lrate }: { lrate: number }): number => Math.max(0, lrate);

const position = ({
  epoch,
  epochs,
  step,
  steps,
}: Pick<Progress, "epoch" | "epochs" | "step" | "steps">) => ({
  epoch,
  epochs,
  step,
  steps,
  percent: percentOf(step, steps),
});

const percentOf = (step: number, steps: number): number =>
  steps === 0 ? 0 : Math.min(100, Math.floor((1000 * step) / steps) / 10);

const speed = ({
  imagesPerSecond,
  etaSeconds,
}: {
  imagesPerSecond?: number | undefined;
  etaSeconds?: number | undefined;
}) => ({
  ...(imagesPerSecond === undefined
    ? {}
    : { imagesPerSecond: Number(imagesPerSecond.toPrecision(4)) }),
  ...(etaSeconds === undefined ? {} : { etaSeconds: Math.round(etaSeconds) }),
});

const shown = (
  progress: Omit<Progress, "display" | "updatedAt"> & Partial<Progress>,
  at: string,
): Progress => ({ ...progress, updatedAt: at, display: progressText(progress) });

/** Every other point, the newest and the first among them. */
const halved = (history: readonly HistoryPoint[]): HistoryPoint[] =>
  history.filter((_, i) => i === 0 || (history.length - 1 - i) % 2 === 0);

/** Keeps the first and the last point, and of the others evenly so many that at most `most` remain. */
export const thinned = (history: readonly HistoryPoint[], most: number): HistoryPoint[] => {
  if (history.length <= most) return [...history];
  const kept: HistoryPoint[] = [];
  for (let i = 0; i < most; i += 1) {
    const point = history[Math.round((i * (history.length - 1)) / (most - 1))];
    if (point !== undefined) kept.push(point);
  }
  return kept;
};

/** What remains when the training has ended: the steps that were made as all of them, a thinned history. */
export const settledProgress = (
  told: Told,
  done: { epochs: number; steps: number },
  at: string,
  /** Of what is beside it for single concepts. */
  takenBytes = 0,
): Told => {
  const { etaSeconds: _, phase: __, ...rest } = told.progress ?? {};
  const { checkpoint: ___, reported: ____, ...others } = told;
  return {
    ...others,
    progress: shown(
      {
        ...rest,
        epoch: done.epochs,
        epochs: done.epochs,
        step: done.steps,
        steps: done.steps,
        percent: 100,
      },
      told.progress?.updatedAt ?? at,
    ),
    ...thinnedHistory(told),
    ...(told.concepts === undefined
      ? {}
      : {
          concepts: fitting(told.concepts, SETTLED_CONCEPTS_BYTES - takenBytes),
        }),
  };
};

/** As many rows, the worst first, as so many bytes hold. */
const fitting = (rows: readonly ConceptMetrics[], mostBytes: number): ConceptMetrics[] => {
  let bytes = 0;
  return rows
    .map((row) => {
      const entries = Object.entries(row).map(([name, value]) => [
        name,
        typeof value === "number" ? Number(value.toFixed(4)) : value,
      ]);
      return ConceptMetrics.parse(Object.fromEntries(entries));
    })
    .filter((row) => {
      bytes += bytesOf(row) + 1;
      return bytes <= mostBytes;
    });
};

export const bytesOf = (value: unknown): number => Buffer.byteLength(JSON.stringify(value));

export const thinnedHistory = ({ history }: Told): Pick<Told, "history"> =>
  history === undefined ? {} : { history: thinned(history, SETTLED_POINTS).map(settledPoint) };

/** Four digits tell epochs apart. Where there are metrics of whole videos, those of frames are in metrics.json only. */
const settledPoint = (point: HistoryPoint): HistoryPoint => {
  if (point.validation === undefined) return point;
  const values = Object.entries(point.validation).map(
    ([name, value]) => [name, Number(value.toPrecision(4))] as const,
  );
  const ofVideos = values.filter(([name]) => name.startsWith("video_"));
  return { ...point, validation: Object.fromEntries(ofVideos.length > 0 ? ofVideos : values) };
};

const rounded = (point: HistoryPoint): HistoryPoint => ({
  ...point,
  ...(point.loss === undefined ? {} : { loss: digits(point.loss) }),
  lrate: digits(point.lrate),
  ...(point.validation === undefined
    ? {}
    : {
        validation: Object.fromEntries(
          Object.entries(point.validation).map(([name, value]) => [name, digits(value)]),
        ),
      }),
});

const digits = (value: number): number => Number(value.toPrecision(6));
