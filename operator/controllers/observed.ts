// Reads beside the caches: the events of what waits without saying why, and the store's claim.

import { Claim, Event, type Job, type Pod } from "../plan/kubernetes.ts";
import { isOwnedBy } from "../plan/plan.ts";
import { isFinished, lacksPods, wantsEvents } from "../plan/podstate.ts";
import { coreEvents } from "./kinds.ts";
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

/** The claim deeptrain-store of a namespace. */
export const claimOf = async (io: Io, namespace: string): Promise<Claim | undefined> =>
  Claim.safeParse(await io.claims.get(namespace)).data;
