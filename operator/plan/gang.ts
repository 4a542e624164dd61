// The pods of an Indexed Job, which train together: which of them says how they are, and which how they ended.

import { exitCode } from "../../api/reasons.ts";
import type { Job, Pod } from "./kubernetes.ts";

const COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index";

/** Pods that train together; 1 where a Job has a single pod. */
export const gangSize = ({ spec }: Job): number => spec.completions ?? 1;

const indexOf = ({ metadata }: Pod): number => Number(metadata.labels?.[COMPLETION_INDEX] ?? "0");

const byIndex = (a: Pod, b: Pod): number =>
  indexOf(a) - indexOf(b) || (a.metadata.name < b.metadata.name ? -1 : 1);

/** Of pods that have not ended: the first that has not started, for all wait for it; else pod 0, which reports. */
export const leadingPod = (
  left: readonly Pod[],
  hasStarted: (pod: Pod) => boolean,
): Pod | undefined => {
  const sorted = [...left].sort(byIndex);
  return sorted.find((pod) => !hasStarted(pod)) ?? sorted[0];
};

/** How a container ended, as far as it tells who was first. */
export interface PodEnd {
  exitCode: number;
  finishedAt?: string | null | undefined;
}

/** What would come out the same in any pod, at any time: nothing that happened beside it excuses it. */
const verdicts: readonly number[] = [exitCode.inputAtFault, exitCode.diverged];

/** What was done to a pod because of another one, or from outside. */
const consequences: readonly number[] = [exitCode.peerLost, exitCode.stoppedBySignal];

/** Where all ended well, the pod whose record is that of all: pod 0. Failed pods beside it say nothing. */
export const reportingPod = (
  pods: readonly Pod[],
  endOf: (pod: Pod) => PodEnd | undefined,
): Pod | undefined =>
  [...pods].sort(byIndex).find((pod) => endOf(pod)?.exitCode === exitCode.published);

/**
 * The pod by whose end a failed attempt is judged: one that found the input or the training at fault, else the first
 * that failed for a reason of its own, else the first that was ended by another's failure.
 */
export const decidingPod = (
  pods: readonly Pod[],
  endOf: (pod: Pod) => PodEnd | undefined,
): Pod | undefined => {
  const failed = [...pods]
    .sort(byIndex)
    .flatMap((pod) => {
      const end = endOf(pod);
      return end === undefined || end.exitCode === exitCode.published ? [] : [{ pod, end }];
    })
    .sort((a, b) => ((a.end.finishedAt ?? "") < (b.end.finishedAt ?? "") ? -1 : 1));
  const verdict = failed.find(({ end }) => verdicts.includes(end.exitCode));
  const own = failed.find(({ end }) => !consequences.includes(end.exitCode));
  const lost = failed.find(({ end }) => end.exitCode === exitCode.peerLost);
  return (verdict ?? own ?? lost ?? failed[0])?.pod ?? [...pods].sort(byIndex)[0];
};
