// What keeps the next Job of a version from being created now.

import { type Refusal, refusedOutcome, tryAgainMs } from "./plan.ts";
import { isFinished } from "./podstate.ts";
import { isOneNode } from "./store.ts";
import {
  remainsOf,
  type Step,
  type VersionStanding,
  type VersionWorld,
  working,
} from "./versionworld.ts";
import type { Wish } from "./wish.ts";

export const AGAIN_MS = 5_000;
const REFUSED_AGAIN_MS = 30_000;

/** The version waits, and says for what; undefined: nothing is in the way. */
export const obstacle = (
  world: VersionWorld,
  { placement: { gpus, nodes } }: Wish,
  before: VersionStanding,
): Step | undefined => {
  const { siblingJobs, refusals, claim, settings } = world;
  const remains = remainsOf(world);
  if (remains.is) {
    const outcome = working("Stopping", "the pod of the attempt before is ending");
    return { standing: { ...before, outcome }, effects: remains.effects, nextMs: AGAIN_MS };
  }
  const sibling = siblingJobs.find((job) => !isFinished(job));
  if (sibling !== undefined) {
    const outcome = working("Queued", `${sibling.metadata.name} of another version is ending`);
    return { standing: { ...before, outcome }, effects: [], nextMs: REFUSED_AGAIN_MS };
  }
  const [refusal] = refusals;
  if (refusal !== undefined) return refused(before, refusal);
  if (nodes !== undefined && gpus > 0 && isOneNode(claim, settings.store)) {
    const outcome = working(
      "StoreNotShared",
      `spec.resources.nodes: ${nodes} nodes with GPUs cannot share a store that is mounted on one node; make the claim deeptrain-store ReadWriteMany, or set nodes to 1`,
    );
    return { standing: { ...before, outcome }, effects: [], nextMs: REFUSED_AGAIN_MS };
  }
  return undefined;
};

export const refused = (before: VersionStanding, refusal: Refusal): Step => ({
  standing: { ...before, outcome: refusedOutcome(refusal) },
  effects: [],
  nextMs: tryAgainMs(refusal),
});
