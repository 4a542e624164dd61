// DeepModel: gather, plan, apply. Every decision is in plan/deepmodel.ts.

import type { DeepModel, DeepModelStatus } from "../../api/deepmodel.ts";
import type { BaseWorld } from "../plan/base.ts";
import { planDeepModel } from "../plan/deepmodel.ts";
import { withoutProgress } from "../plan/deepmodelstatus.ts";
import { nameOf } from "../runtime/resource.ts";
import { type Caches, deepModels } from "./kinds.ts";
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
        base: baseOf(caches, model),
        users: {
          models: caches.models.by("base", key),
          versions: caches.versions.by("base", key),
        },
        dataset: caches.datasets.get(`${namespace}/${model.spec.datasetRef.name}`),
        versions: caches.versions.ownedBy(model.metadata),
        refusals,
        now: io.now(),
      }),
  };
  return reconcile(io, kind);
};

/** The chain of models, each of which begins with the next one. */
const baseOf = (caches: Caches, model: DeepModel): BaseWorld => {
  const chain: DeepModel[] = [];
  let next = caches.models.get(baseKey(model));
  while (next !== undefined && !chain.includes(next)) {
    chain.push(next);
    next = next.metadata.uid === model.metadata.uid ? undefined : caches.models.get(baseKey(next));
  }
  const [first] = chain;
  return { chain, versions: first === undefined ? [] : caches.versions.ownedBy(first.metadata) };
};

const baseKey = ({ metadata, spec }: DeepModel): string =>
  `${metadata.namespace}/${spec.base?.modelRef?.name ?? ""}`;
