// Reads beside the caches: the events of what waits without saying why, what Kueue says of it, and the store's claim.

import { Claim, Event, type Job, type Pod } from "../plan/kubernetes.ts";
import { kueueLabel, Workload, waitsInQueue } from "../plan/kueue.ts";
import { isOwnedBy } from "../plan/plan.ts";
import { isFinished, lacksPods, wantsEvents } from "../plan/podstate.ts";
import { isInternal, isNotFound, isRefused } from "../runtime/apierror.ts";
import { coreEvents, workloads } from "./kinds.ts";
import type { Io } from "./shell.ts";

/** Events of the unfinished Jobs and of their pods, where only events can tell why nothing happens. */
export const eventsOf = async (
  io: { client: Pick<Io["client"], "list">; now: Io["now"] },
  jobs: readonly Job[],
  pods: readonly Pod[],
): Promise<Event[]> => {
  const events: Event[] = [];
  for (const job of jobs) {
    const own = pods.filter((pod) => isOwnedBy(pod, job.metadata));
    if (isFinished(job) || !wantsEvents(job, own, io.now())) continue;
    for (const { metadata } of lacksPods(job, own) ? [job, ...own] : own) {
      const page = await io.client.list(coreEvents, {
        namespace: metadata.namespace,
        fieldSelector: `involvedObject.uid=${metadata.uid}`,
        limit: 50,
      });
      for (const item of page.items) {
        const { data } = Event.safeParse(item);
        if (data !== undefined) events.push(data);
      }
    }
  }
  return events;
};

/**
 * What Kueue says of the Job that it has suspended; nothing where there is no Kueue, or none that we may ask, or one whose
 * conversion webhook is down (500): it explains a wait, and must not keep a version from being stopped.
 */
export const workloadOf = async (
  io: { client: Pick<Io["client"], "list"> },
  jobs: readonly Job[],
): Promise<Workload | undefined> => {
  const job = jobs.find((each) => !isFinished(each) && waitsInQueue(each));
  if (job === undefined) return undefined;
  const { namespace, uid } = job.metadata;
  try {
    const labelSelector = `${kueueLabel.jobUid}=${uid}`;
    const page = await io.client.list(workloads, { namespace, labelSelector, limit: 1 });
    return Workload.safeParse(page.items[0]).data;
  } catch (error) {
    if (isNotFound(error) || isRefused(error) || isInternal(error)) return undefined;
    throw error;
  }
};

/** The claim deeptrain-store of a namespace. */
export const claimOf = async (io: Io, namespace: string): Promise<Claim | undefined> =>
  Claim.safeParse(await io.claims.get(namespace)).data;
