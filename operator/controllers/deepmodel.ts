// DeepModel: gather, plan, apply. Every decision is in plan/deepmodel.ts.

import type { DeepModel, DeepModelStatus } from "../../api/deepmodel.ts";
import { planDeepModel } from "../plan/deepmodel.ts";
import { withoutProgress } from "../plan/deepmodelstatus.ts";
import { nameOf } from "../runtime/resource.ts";
import { deepModels } from "./kinds.ts";
import { type Io, type Kind, reconcile } from "./shell.ts";
import { tellUnreadable } from "./unreadable.ts";

export const reconcileDeepModel = (io: Io) => (key: string) => {
  const { caches } = io;
  const problem = caches.models.problem(key);
  if (problem !== undefined) return tellUnreadable(io, deepModels, "DeepModel", key, problem);
  const { namespace } = nameOf(key);
  const kind: Kind<DeepModel, DeepModelStatus> = {
    resource: deepModels,
    get: () => caches.models.get(key),
    withoutProgress,
    plan: async (model, refusals) =>
      planDeepModel({
        model,
        dataset: caches.datasets.get(`${namespace}/${model.spec.datasetRef.name}`),
        versions: caches.versions.ownedBy(model.metadata),
        refusals,
        now: io.now(),
      }),
  };
  return reconcile(io, kind);
};
