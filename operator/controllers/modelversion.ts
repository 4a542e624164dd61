// ModelVersion: gather, plan, apply. Every decision is in plan/modelversion.ts.

import type { ModelVersion, ModelVersionStatus } from "../../api/modelversion.ts";
import { isComplete } from "../plan/gates.ts";
import { planVersion } from "../plan/modelversion.ts";
import { withoutProgress } from "../plan/versionprogress.ts";
import { nameOf } from "../runtime/resource.ts";
import { modelVersions } from "./kinds.ts";
import { claimOf, eventsOf, workloadOf } from "./observed.ts";
import { type Io, type Kind, reconcile } from "./shell.ts";

export const reconcileModelVersion = (io: Io) => (key: string) => {
  const { caches, settings } = io;
  const { namespace } = nameOf(key);
  const kind: Kind<ModelVersion, ModelVersionStatus> = {
    resource: modelVersions,
    get: () => caches.versions.get(key),
    shown: (status) => ({
      attempt: status?.reported?.attempt,
      epoch: status?.progress?.epoch,
      phase: status?.progress?.phase,
    }),
    withoutProgress,
    shownBy: ({ spec }) => spec.model.uid,
    plan: async (version, refusals, mails) => {
      const model = caches.models.get(`${namespace}/${version.spec.model.name}`);
      const jobs = caches.jobs.ownedBy(version.metadata);
      const pods = caches.pods.by("version", key);
      const siblings = caches.versions
        .ownedBy({ namespace, uid: version.spec.model.uid })
        .filter(({ metadata }) => metadata.uid !== version.metadata.uid);
      return planVersion({
        version,
        model,
        jobs,
        pods,
        siblingJobs: siblings.flatMap(({ metadata }) => caches.jobs.ownedBy(metadata)),
        events: isComplete(version) ? [] : await eventsOf(io, jobs, pods),
        workload: isComplete(version) ? undefined : await workloadOf(io, jobs),
        claim: isComplete(version) ? undefined : await claimOf(io, namespace),
        mails,
        refusals,
        settings,
        now: io.now(),
      });
    },
  };
  return reconcile(io, kind);
};
