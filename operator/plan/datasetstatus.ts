// How a Dataset stands, as its status and as events.

import type { Dataset, DatasetReport, DatasetStatus } from "../../api/dataset.ts";
import { type Claims, condition, conditions, outcomeClaims } from "./conditions.ts";
import type { DatasetStanding } from "./dataset.ts";
import type { EventNote } from "./plan.ts";

/** A status without how far its import is. */
export const withoutProgress = ({ summary: _, import: of, ...rest }: DatasetStatus): unknown => {
  if (of === undefined) return rest;
  const { phase: __, done: ___, total: ____, ...lifecycle } = of;
  return { ...rest, import: lifecycle };
};

export const datasetStatus = (
  dataset: Dataset,
  standing: DatasetStanding,
  now: string,
): DatasetStatus => {
  const generation = dataset.metadata.generation ?? 0;
  const { outcome, data, dataInputsHash, lastHandledRetry } = standing;
  const summary = summaryOf(standing);
  return {
    observedGeneration: generation,
    conditions: conditions(dataset.status?.conditions, datasetClaims(standing), {
      generation,
      now,
    }),
    ...(standing.import === undefined ? {} : { import: standing.import }),
    ...(data === undefined ? {} : { data }),
    ...(dataInputsHash === undefined ? {} : { dataInputsHash }),
    ...(lastHandledRetry === undefined ? {} : { lastHandledRetry }),
    ...(summary === undefined || outcome.is === "failed" ? {} : { summary }),
  };
};

const datasetClaims = ({ outcome, data, rejected }: DatasetStanding): Claims => {
  const [warning] = data?.warnings ?? [];
  return {
    ...outcomeClaims(outcome),
    Accepted: rejected
      ? { status: "False", reason: outcome.reason, message: outcome.message }
      : { status: "True", reason: "Accepted", message: "the spec is valid" },
    ...(warning === undefined
      ? {}
      : {
          DataWarning: {
            status: "True",
            reason: warning.reason,
            message: (data?.warnings ?? []).map(({ message }) => message).join("; "),
          },
        }),
  };
};

const summaryOf = ({ data, import: current }: DatasetStanding): string | undefined => {
  if (current?.phase !== undefined) {
    const { phase, done, total } = current;
    const share = total === undefined || total === 0 ? "" : ` ${percent(done ?? 0, total)}%`;
    return `${phase}${share}`;
  }
  return data === undefined ? undefined : dataSummary(data);
};

const percent = (done: number, total: number): number =>
  Math.min(100, Math.floor((100 * done) / total));

/** `1200 items, 2 concepts, 3400 boxes`; of videos: `1200 frames of 30 videos, 2 concepts`. */
const dataSummary = ({ items, concepts, boxes, videos }: DatasetReport): string => {
  const count = total(items);
  return [
    videos === undefined
      ? counted(count, "item")
      : `${counted(count, "frame")} of ${counted(videos, "video")}`,
    counted(concepts.length, "concept"),
    ...(boxes === undefined ? [] : [counted(total(boxes), "box", "boxes")]),
  ].join(", ");
};

const total = ({ train, validation, test }: DatasetReport["items"]): number =>
  train + validation + test;

const counted = (count: number, one: string, more = `${one}s`): string =>
  `${count} ${count === 1 ? one : more}`;

/** An event where Ready's status or reason changes to something that people want to be told of. */
export const transition = (dataset: Dataset, { outcome }: DatasetStanding): EventNote[] => {
  const before = condition(dataset.status, "Ready");
  if (before?.reason === outcome.reason && before.status === outcomeClaims(outcome).Ready?.status) {
    return [];
  }
  const { reason, message } = outcome;
  if (outcome.is === "ready") return [{ type: "Normal", reason, message }];
  if (outcome.is === "failed") return [{ type: "Warning", reason, message }];
  if (reason === "Importing") {
    return before?.reason === "RetryingAfterFailure" || before === undefined
      ? [{ type: "Normal", reason: "ImportStarted", message }]
      : [];
  }
  return reason === "Creating" ? [] : [{ type: "Warning", reason, message }];
};
