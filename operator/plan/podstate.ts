// What a Job and its pods are doing, in one value. Terminal only on the Job conditions Complete and Failed, and only
// when no pod is left running: the interim conditions come before the pods are gone.

import { exitCode, type Reason } from "../../api/reasons.ts";
import { oneLine } from "./conditions.ts";
import { decidingPod, gangSize, leadingPod, reportingPod } from "./gang.ts";
import type { Event, Job, Pod } from "./kubernetes.ts";
import { queuedMessage, type Workload } from "./kueue.ts";
import { later, msUntil } from "./plan.ts";
import { CONTAINER } from "./trainerpod.ts";

/** How long a Job without pods, or a pod without a container, is given before its events are read. */
export const EVENTS_AFTER_MS = 15_000;
/** How often they are read again while nothing else changes. */
const EVENTS_AGAIN_MS = 30_000;
const DETAIL_MAX_CHARS = 400;

export interface PodFacts {
  uid: string;
  node?: string;
  /** By digest, as the kubelet reports it. */
  image?: string;
  startedAt?: string;
  finishedAt?: string;
}

export type PodState =
  /** No container has started. */
  | { is: "waiting"; reason: Reason; message: string }
  | { is: "running"; pod: PodFacts }
  /** Deleted, but a pod is still there; or ended, but a pod is not. */
  | { is: "stopping" }
  | { is: "ended"; end: JobEnd };

export interface JobEnd {
  succeeded: boolean;
  deadlineExceeded: boolean;
  outOfMemory: boolean;
  /** One of several pods was evicted or preempted, or a queue took them all back: all end with it. */
  disrupted?: boolean;
  /** Absent where the pod was gone before it was read. */
  exitCode?: number;
  /** What the container left as its termination message: its record, or the end of its log where it left none. */
  terminationMessage?: string;
  /** The Job's own words, for people. */
  message?: string;
  pod?: PodFacts;
  finishedAt?: string;
}

export interface Observed {
  job: Job;
  /** The pods of this Job. */
  pods: readonly Pod[];
  /** Events of the Job and of its pods; read only when `wantsEvents` says so. */
  events: readonly Event[];
  /** What Kueue says of the Job; read only when `waitsInQueue` says so. */
  workload?: Workload | undefined;
  /** Another pod of the Job goes on from a checkpoint; absent: not that it is known. */
  hasCheckpoint?: boolean;
}

export const podState = ({
  job,
  pods,
  events,
  workload,
  hasCheckpoint = false,
}: Observed): PodState => {
  const left = pods.filter(isLeft);
  const ended = jobCondition(job, "Complete") ?? jobCondition(job, "Failed");
  if (ended !== undefined) {
    if (left.length > 0) return { is: "stopping" };
    return { is: "ended", end: jobEnd(job, pods) };
  }
  if (job.metadata.deletionTimestamp !== undefined) return { is: "stopping" };
  if (job.spec.suspend === true) {
    return left.length > 0
      ? { is: "waiting", reason: "Preempted", message: "its Job was suspended; its pod is ending" }
      : { is: "waiting", reason: "Queued", message: queuedMessage(job, workload, hasCheckpoint) };
  }
  const pod = leading(job, left);
  if (gangSize(job) > 1 && lacksPods(job, pods)) {
    const refused = refusedPod(events);
    if (refused !== undefined) return refused;
    if (pod === undefined || hasStarted(pod)) {
      return { is: "waiting", reason: "Starting", message: "not all of its pods are created yet" };
    }
  }
  if (pod === undefined) {
    const ended = newest(pods);
    // The Job's own condition comes a moment after its pod's end.
    if (ended !== undefined && !isDisrupted(ended)) return { is: "running", pod: podFacts(ended) };
    return withoutPod(pods, events);
  }
  if (hasStarted(pod)) return { is: "running", pod: podFacts(pod) };
  return waiting(pod, events);
};

/** Not finished: it may still hold the store. */
export const isLeft = (pod: Pod): boolean =>
  pod.status?.phase !== "Succeeded" && pod.status?.phase !== "Failed";

/**
 * True where a pod ought to be there and is not. One of several that failed is not made again: its Job ends; nor are
 * any made of a Job that is ending.
 */
export const lacksPods = (job: Job, pods: readonly Pod[]): boolean => {
  if (isFinished(job) || jobCondition(job, "FailureTarget") !== undefined) return false;
  const size = gangSize(job);
  const there = pods.filter((pod) => size > 1 || pod.status?.phase !== "Failed");
  return there.length < size;
};

/** The pod that says how a Job is that has not ended. */
const leading = (job: Job, left: readonly Pod[]): Pod | undefined =>
  gangSize(job) > 1 ? leadingPod(left, hasStarted) : newest(left);

/** Its end is the cluster's doing: the Job makes another pod (KEP-3329). */
const isDisrupted = (pod: Pod): boolean =>
  pod.status?.conditions?.some(
    ({ type, status }) => type === "DisruptionTarget" && status === "True",
  ) ?? false;

/** A pod that should have ended so long ago has a node that does not answer. */
const STUCK_AFTER_MS = 60_000;

/** While a pod is being deleted, it is looked at again after so long: nothing tells that its node is gone. */
export const STUCK_AGAIN_MS = 30_000;

/** What to do about a pod that does not end although its grace period is over; undefined where there is none. */
export const stuckPod = (
  pods: readonly Pod[],
  now: string,
  task: "training" | "import",
): string | undefined => {
  const pod = pods.find(
    (each) =>
      isBeingDeleted(each) &&
      isLeft(each) &&
      Date.parse(now) - Date.parse(each.metadata.deletionTimestamp ?? now) >= STUCK_AFTER_MS,
  );
  return (
    pod &&
    `pod ${pod.metadata.name} does not end; once node ${pod.spec.nodeName ?? "unknown"} is surely off, delete the pod with --force and the ${task} goes on`
  );
};

/** When to look at pods again of which one is being deleted, in milliseconds; undefined where none is. */
export const stuckDueMs = (pods: readonly Pod[]): number | undefined =>
  pods.some((pod) => isBeingDeleted(pod) && isLeft(pod)) ? STUCK_AGAIN_MS : undefined;

const isBeingDeleted = ({ metadata }: Pod): boolean => metadata.deletionTimestamp !== undefined;

/** True where the reason for waiting is in events alone. */
export const wantsEvents = (job: Job, pods: readonly Pod[], now: string): boolean => {
  if (isFinished(job) || job.spec.suspend === true) return false;
  const since = waitsSince(job, pods);
  return since !== undefined && untilEventsMs(since, now) === 0;
};

/** Since when events may be the ones to tell; undefined where the pod that is waited for tells itself. */
const waitsSince = (job: Job, pods: readonly Pod[]): string | undefined => {
  const pod = lacksPods(job, pods) ? undefined : leading(job, pods.filter(isLeft));
  if (pod === undefined) return job.metadata.creationTimestamp;
  return hasStarted(pod) ? undefined : scheduledAt(pod);
};

/** When to look at the events of a Job that waits, in milliseconds. */
export const eventsDueMs = (job: Job, pods: readonly Pod[], now: string): number => {
  const due = untilEventsMs(waitsSince(job, pods) ?? job.metadata.creationTimestamp, now);
  return due > 0 ? due : EVENTS_AGAIN_MS;
};

/** The API server's clock may be ahead of ours a little; by more than the wait itself, ours is not to be believed. */
const untilEventsMs = (since: string, now: string): number =>
  msUntil(later(since, EVENTS_AFTER_MS), now, 2 * EVENTS_AFTER_MS);

export const isFinished = (job: Job): boolean =>
  jobCondition(job, "Complete") !== undefined || jobCondition(job, "Failed") !== undefined;

const jobCondition = (job: Job, type: string) =>
  job.status?.conditions?.find((each) => each.type === type && each.status === "True");

const newest = (pods: readonly Pod[]): Pod | undefined =>
  pods.reduce<Pod | undefined>(
    (best, pod) =>
      best === undefined ||
      pod.metadata.creationTimestamp > best.metadata.creationTimestamp ||
      (pod.metadata.creationTimestamp === best.metadata.creationTimestamp &&
        pod.metadata.name > best.metadata.name)
        ? pod
        : best,
    undefined,
  );

const containerOf = (pod: Pod) =>
  pod.status?.containerStatuses?.find((container) => container.name === CONTAINER);

const hasStarted = (pod: Pod): boolean => {
  const state = containerOf(pod)?.state;
  return state?.running !== undefined || state?.terminated !== undefined;
};

const scheduledAt = (pod: Pod): string | undefined =>
  pod.status?.conditions?.find((each) => each.type === "PodScheduled" && each.status === "True")
    ?.lastTransitionTime ?? undefined;

const podFacts = (pod: Pod): PodFacts => {
  const container = containerOf(pod);
  const startedAt = container?.state?.running?.startedAt ?? container?.state?.terminated?.startedAt;
  const finishedAt = container?.state?.terminated?.finishedAt;
  return {
    uid: pod.metadata.uid,
    ...(pod.spec.nodeName ? { node: pod.spec.nodeName } : {}),
    ...(container?.imageID ? { image: container.imageID.slice(0, 512) } : {}),
    ...(startedAt ? { startedAt } : {}),
    ...(finishedAt ? { finishedAt } : {}),
  };
};

const withoutPod = (pods: readonly Pod[], events: readonly Event[]): PodState =>
  refusedPod(events) ?? {
    is: "waiting",
    reason: "Starting",
    message: pods.length > 0 ? "a disrupted pod is being replaced" : "the pod is being created",
  };

/** A pod that the Job cannot create. */
const refusedPod = (events: readonly Event[]): PodState | undefined => {
  const refused = lastEvent(events, ["FailedCreate"]);
  if (refused === undefined) return undefined;
  const detail = oneLine(refused.message?.replace(/^Error creating: /, "") ?? "", DETAIL_MAX_CHARS);
  return {
    is: "waiting",
    reason: /exceeded quota/.test(detail) ? "QuotaExceeded" : "AdmissionDenied",
    message: `the pod is refused: ${detail}`,
  };
};

const pullFailures = ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"];
const startFailures = ["CreateContainerConfigError", "CreateContainerError", "RunContainerError"];

const waiting = (pod: Pod, events: readonly Event[]): PodState => {
  const scheduled = pod.status?.conditions?.find((each) => each.type === "PodScheduled");
  if (scheduled?.status === "False") {
    if (scheduled.reason === "SchedulingGated") {
      return { is: "waiting", reason: "Queued", message: "the pod waits at a scheduling gate" };
    }
    return {
      is: "waiting",
      reason: "Unschedulable",
      message: `no node takes the pod: ${oneLine(scheduled.message ?? "no reason is given", DETAIL_MAX_CHARS)}`,
    };
  }
  const held = containerOf(pod)?.state?.waiting;
  if (held?.reason !== undefined && pullFailures.includes(held.reason)) {
    return { is: "waiting", reason: "ImagePullFailed", message: pullMessage(held.message) };
  }
  if (held?.reason !== undefined && startFailures.includes(held.reason)) {
    return {
      is: "waiting",
      reason: "ContainerConfigError",
      message: `the container cannot start: ${oneLine(held.message ?? held.reason, DETAIL_MAX_CHARS)}`,
    };
  }
  const mount = lastEvent(events, ["FailedMount", "FailedAttachVolume", "FailedMapVolume"]);
  if (mount !== undefined) {
    return {
      is: "waiting",
      reason: "VolumeMountFailed",
      message: `a volume cannot be mounted: ${oneLine(mount.message ?? "", DETAIL_MAX_CHARS)}`,
    };
  }
  return { is: "waiting", reason: "Starting", message: "the pod is starting" };
};

/** The kubelet alternates between the error and "Back-off ...: ErrImagePull: <the error>": one message for both. */
const pullMessage = (message = "no reason is given"): string => {
  const cause = message.replace(/^Back-off pulling image "[^"]*"(: ErrImagePull: )?/, "");
  return `the image cannot be pulled: ${oneLine(cause === "" ? message : cause, DETAIL_MAX_CHARS)}`;
};

const lastEvent = (events: readonly Event[], reasons: readonly string[]): Event | undefined =>
  events
    .filter((event) => event.reason !== undefined && reasons.includes(event.reason))
    .sort((a, b) => (eventTime(a) < eventTime(b) ? -1 : 1))
    .at(-1);

const eventTime = (event: Event): string => event.lastTimestamp ?? event.eventTime ?? "";

const jobEnd = (job: Job, pods: readonly Pod[]): JobEnd => {
  const complete = jobCondition(job, "Complete");
  const failed = jobCondition(job, "Failed");
  // A disrupted pod was replaced: the last one is the one whose end ended the Job.
  const isGang = gangSize(job) > 1;
  const endOf = (pod: Pod) => containerOf(pod)?.state?.terminated;
  const deciding = complete === undefined ? decidingPod : reportingPod;
  const pod = isGang ? deciding(pods, endOf) : newest(pods);
  const terminated = pod === undefined ? undefined : endOf(pod);
  const finishedAt =
    terminated?.finishedAt ??
    job.status?.completionTime ??
    (complete ?? failed)?.lastTransitionTime ??
    undefined;
  return {
    succeeded: complete !== undefined,
    deadlineExceeded: failed?.reason === "DeadlineExceeded",
    outOfMemory: terminated?.reason === "OOMKilled",
    ...(isGang &&
    failed !== undefined &&
    (pods.some(isDisrupted) || isDisruption(failed) || job.spec.suspend === true)
      ? { disrupted: true }
      : {}),
    ...(terminated === undefined ? {} : { exitCode: terminated.exitCode }),
    ...(terminated?.message === undefined ? {} : { terminationMessage: terminated.message }),
    ...(failed?.message === undefined
      ? {}
      : { message: oneLine(failed.message, DETAIL_MAX_CHARS) }),
    ...(pod === undefined ? {} : { pod: podFacts(pod) }),
    ...(finishedAt === undefined ? {} : { finishedAt }),
  };
};

/** The first rule of a gang's Job is of disruption: the Job still tells when the pod is gone, with its node. */
const isDisruption = (failed: NonNullable<ReturnType<typeof jobCondition>>): boolean =>
  failed.reason === "PodFailurePolicy" && /\brule at index 0\b/.test(failed.message ?? "");

const LAST_WORDS_MAX_CHARS = 240;

/** The last line of its log, where it left no record. What may be a secret in an address is left out. */
const lastWords = ({ terminationMessage = "" }: JobEnd): string => {
  const line = terminationMessage.trim().split("\n").at(-1) ?? "";
  if (line === "" || line.startsWith("{")) return "";
  const shown = line
    .replace(/([a-z][a-z0-9+.-]*:\/\/)[^\s/@]*@/gi, "$1")
    .replace(/([a-z][a-z0-9+.-]*:\/\/[^\s?#]*)[?#]\S*/gi, "$1");
  return `; its last words: ${oneLine(shown, LAST_WORDS_MAX_CHARS)}`;
};

/** Why a Job failed, where its record does not say. */
export interface Failure {
  reason: Reason;
  message: string;
  /** `never`: the same would fail again. `free`: not the training's fault, so it is not counted. */
  retry: "counted" | "free" | "never";
}

export const failureOf = (
  end: JobEnd,
  asked: { memory: string; crash: "TrainingFailed" | "ImportFailed" },
): Failure => {
  if (end.deadlineExceeded) {
    return { reason: "DeadlineExceeded", message: "it ran past its deadline", retry: "never" };
  }
  if (end.outOfMemory) {
    const message = `it needed more than its limit of ${asked.memory} memory`;
    return { reason: "OutOfMemory", message, retry: "never" };
  }
  const isVerdict = end.exitCode === exitCode.inputAtFault || end.exitCode === exitCode.diverged;
  if (end.disrupted === true && !isVerdict) {
    return { reason: "Preempted", message: "one of its pods had to leave its node", retry: "free" };
  }
  switch (end.exitCode) {
    case undefined:
      return { reason: "PodLost", message: "its pod is gone without a record", retry: "counted" };
    case exitCode.published:
      return { reason: asked.crash, message: "the Job failed after it ended", retry: "counted" };
    case exitCode.inputAtFault:
      return { reason: "InputInvalid", message: "its input is at fault", retry: "never" };
    case exitCode.diverged:
      return { reason: "Diverged", message: "the training diverged", retry: "never" };
    case exitCode.peerLost:
      return { reason: "PeerLost", message: "one of its processes is gone", retry: "counted" };
    case exitCode.rendezvousTimedOut:
      return {
        reason: "RendezvousTimedOut",
        message: "its pods did not all come together in time",
        retry: "free",
      };
    case exitCode.stoppedBySignal:
      return { reason: "Preempted", message: "its pod was stopped", retry: "free" };
    case 137:
      return { reason: "PodLost", message: "its process was killed (SIGKILL)", retry: "counted" };
    default:
      return {
        reason: asked.crash,
        message: `it crashed with exit code ${end.exitCode}${lastWords(end)}`,
        retry: "counted",
      };
  }
};
