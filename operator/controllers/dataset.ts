// Dataset: gather, plan, apply. Every decision is in plan/dataset.ts.

import type { Dataset, DatasetStatus } from "../../api/dataset.ts";
import { planDataset } from "../plan/dataset.ts";
import { withoutProgress } from "../plan/datasetstatus.ts";
import { nameOf } from "../runtime/resource.ts";
import { datasets } from "./kinds.ts";
import { claimOf, eventsOf } from "./observed.ts";
import { type Io, type Kind, reconcile } from "./shell.ts";
import { tellUnreadable } from "./unreadable.ts";

export const reconcileDataset = (io: Io) => (key: string) => {
  const { caches, settings } = io;
  const problem = caches.datasets.problem(key);
  if (problem !== undefined) return tellUnreadable(io, datasets, "Dataset", key, problem);
  const kind: Kind<Dataset, DatasetStatus> = {
    resource: datasets,
    get: () => caches.datasets.get(key),
    shown: (status) => ({ phase: status?.import?.phase }),
    withoutProgress,
    plan: async (dataset, refusals, mails) => {
      const jobs = caches.jobs.ownedBy(dataset.metadata);
      const pods = caches.pods.by("dataset", key);
      const isSettled = dataset.status?.data !== undefined && jobs.length === 0;
      return planDataset({
        dataset,
        jobs,
        pods,
        events: await eventsOf(io, jobs, pods),
        claim: isSettled ? undefined : await claimOf(io, nameOf(key).namespace),
        mails,
        refusals,
        settings,
        now: io.now(),
      });
    },
  };
  return reconcile(io, kind);
};
