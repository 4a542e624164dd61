// Kueue: a Job with the label of a queue is suspended until the queue admits it, and suspended again where its quota is
// needed by others. We write the labels and read why it waits; `Job.spec.suspend` is Kueue's alone.
// https://kueue.sigs.k8s.io/docs/tasks/run/jobs/

import { z } from "zod";
import type { Scheduling } from "../../api/scheduling.ts";
import { oneLine } from "./conditions.ts";
import { Condition, type Job } from "./kubernetes.ts";

export const kueueLabel = {
  queue: "kueue.x-k8s.io/queue-name",
  priority: "kueue.x-k8s.io/priority-class",
  /** On a Workload: of the Job that it stands for. */
  jobUid: "kueue.x-k8s.io/job-uid",
} as const;

/** What Kueue decides about one Job, as far as it is read here. */
export const Workload = z.object({
  status: z.object({ conditions: z.array(Condition).optional() }).optional(),
});
export type Workload = z.infer<typeof Workload>;

/** What of `scheduling` is the queue's business, as labels of the Job, and what is the pod's. */
export const splitScheduling = ({
  queueName,
  workloadPriorityClassName,
  ...pod
}: Scheduling): { queueLabels: Record<string, string>; pod: Record<string, unknown> } => ({
  queueLabels: {
    ...(queueName === undefined ? {} : { [kueueLabel.queue]: queueName }),
    ...(workloadPriorityClassName === undefined
      ? {}
      : { [kueueLabel.priority]: workloadPriorityClassName }),
  },
  pod,
});

/** True where a Workload can tell why a Job waits. */
export const waitsInQueue = (job: Job): boolean =>
  job.spec.suspend === true && queueOf(job) !== undefined;

const queueOf = ({ metadata }: Job): string | undefined => metadata.labels?.[kueueLabel.queue];

const DETAIL_MAX_CHARS = 240;

/** Why a suspended Job waits, in one line. `goesOn`: what it did until it lost its quota is in a checkpoint. */
export const queuedMessage = (
  job: Job,
  workload: Workload | undefined,
  goesOn: boolean,
): string => {
  const queue = queueOf(job);
  if (queue === undefined) return "the Job is suspended from outside, as a queue does";
  const of = (type: string, status: "True" | "False") =>
    workload?.status?.conditions?.find((each) => each.type === type && each.status === status);
  const evicted = of("Evicted", "True");
  const waits = of("QuotaReserved", "True")
    ? `has quota of the queue ${queue}, whose admission checks are not done`
    : `waits in the queue ${queue}${detail(of("QuotaReserved", "False")?.message)}`;
  if (evicted === undefined) return waits;
  const kept = goesOn ? ", goes on from its last checkpoint," : "";
  return `lost its quota (${evicted.reason ?? "Evicted"})${kept} and ${waits}`;
};

const detail = (message: string | undefined): string =>
  message === undefined || message === "" ? "" : `: ${oneLine(message, DETAIL_MAX_CHARS)}`;

const SOONEST_MS = 5_000;
const LATEST_MS = 300_000;

/**
 * When to read the Workload of a Job again, in milliseconds: nothing tells that Kueue has changed its mind, short of
 * admission. The longer a Job has waited, the longer until the next look: a long queue must not load the API server. One
 * that had run for long and lost its quota has not waited for long.
 */
export const queueDueMs = ({ metadata, status }: Job, now: string): number => {
  const since = status?.conditions?.find(
    ({ type, status: is }) => type === "Suspended" && is === "True",
  )?.lastTransitionTime;
  const waitedMs = Date.parse(now) - Date.parse(since ?? metadata.creationTimestamp);
  return Math.min(LATEST_MS, Math.max(SOONEST_MS, waitedMs / 8));
};
