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

/** What was done to a pod because of another one, or from outside. */
const consequences: readonly number[] = [exitCode.peerLost, exitCode.stoppedBySignal];

/**
 * The pod by whose end the attempt is judged: pod 0, whose record is that of all, or where they failed the first that
 * did so for a reason of its own.
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
  const own = failed.find(({ end }) => !consequences.includes(end.exitCode));
  const lost = failed.find(({ end }) => end.exitCode === exitCode.peerLost);
  return (own ?? lost ?? failed[0])?.pod ?? [...pods].sort(byIndex)[0];
};
