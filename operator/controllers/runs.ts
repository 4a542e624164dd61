// What the progress endpoint must know of a run: its present attempt, and the live pods of that attempt's Job.

import type { ObjectMeta } from "../../api/objectmeta.ts";
import { isComplete } from "../plan/gates.ts";
import { isLeft } from "../plan/podstate.ts";
import type { Caches } from "./kinds.ts";

export interface Run {
  readonly task: "train" | "import";
  readonly attempt: number;
  /** Pods that have not ended. One that is being deleted may still report until it has. */
  readonly podUids: ReadonlySet<string>;
  /** Of a training. */
  readonly epochs?: number;
  readonly finished: boolean;
}

/** Undefined where no run works for an object of this UID. */
export const runOf = (caches: Caches, uid: string): Run | undefined => {
  const version = caches.versions.by("uid", uid)[0];
  if (version !== undefined) {
    const attempt = version.status?.attempts?.at(-1);
    if (attempt === undefined) return undefined;
    return {
      task: "train",
      attempt: attempt.number,
      podUids: livePods(caches, version.metadata, attempt.job),
      epochs: version.spec.hyperparameters.num_epochs,
      finished: isComplete(version),
    };
  }
  const dataset = caches.datasets.by("uid", uid)[0];
  const current = dataset?.status?.import;
  if (dataset === undefined || current?.job === undefined) return undefined;
  return {
    task: "import",
    attempt: current.attempt,
    podUids: livePods(caches, dataset.metadata, current.job),
    finished: dataset.status?.dataInputsHash === current.inputsHash,
  };
};

const livePods = (caches: Caches, owner: ObjectMeta, name: string): Set<string> => {
  const job = caches.jobs.ownedBy(owner).find(({ metadata }) => metadata.name === name);
  if (job === undefined) return new Set();
  return new Set(
    caches.pods
      .ownedBy(job.metadata)
      .filter(isLeft)
      .map(({ metadata }) => metadata.uid),
  );
};
