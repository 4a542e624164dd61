// Which versions are removed: of the complete ones the least recently wanted, of the failed and of the stopped ones all
// but the last three. What is served or wanted stays, and what another model begins with.

import type { ModelVersion } from "../../api/modelversion.ts";
import { condition, isTrue } from "./conditions.ts";
import { isComplete } from "./gates.ts";

const FAILED_KEPT = 3;
const STOPPED_KEPT = 3;

export const versionsToRemove = (
  versions: readonly ModelVersion[],
  kept: {
    ready: string | undefined;
    wanted: string | undefined;
    /** Numbers of those that are a base. */
    inUse: ReadonlySet<number>;
    most: number;
  },
): ModelVersion[] => {
  const isFree = ({ metadata, spec }: ModelVersion): boolean =>
    metadata.name !== kept.ready && metadata.name !== kept.wanted && !kept.inUse.has(spec.number);
  const complete = versions.filter(isComplete);
  const surplus = Math.max(0, complete.length - kept.most);
  const oldest = complete.filter(isFree).sort(byLastWanted).slice(0, surplus);
  const failed = versions
    .filter((version) => !isComplete(version) && isTrue(version.status, "Stalled"))
    .sort((a, b) => a.spec.number - b.spec.number);
  const given = failed.slice(0, Math.max(0, failed.length - FAILED_KEPT)).filter(isFree);
  const stopped = versions.filter(isStopped).filter(isFree).sort(byLastWanted);
  const abandoned = stopped.slice(0, Math.max(0, stopped.length - STOPPED_KEPT));
  return [...oldest, ...given, ...abandoned];
};

/** At rest before its training was over; one that is still being stopped holds its directory. */
const isStopped = (version: ModelVersion): boolean =>
  !isComplete(version) &&
  condition(version.status, "Ready")?.status === "False" &&
  !isTrue(version.status, "Stalled");

const byLastWanted = (a: ModelVersion, b: ModelVersion): number => {
  const [first, second] = [a.status?.lastWantedAt ?? "", b.status?.lastWantedAt ?? ""];
  return first === second ? a.spec.number - b.spec.number : first < second ? -1 : 1;
};
