// Where the weights of a model begin: a base of the catalogue, a file that is fetched, or a version of another model,
// pinned by the digest of its artifact. A base that is not there yet is waited for.

import { catalogueBase } from "../../api/bases.ts";
import type { DeepModel, Resolved } from "../../api/deepmodel.ts";
import type { ModelVersion, ModelVersionSpec } from "../../api/modelversion.ts";
import type { TemplateRevision } from "../../api/template.ts";
import { newestTemplate, type TemplateName, templateNames } from "../../api/templates.ts";
import { condition, isTrue } from "./conditions.ts";
import { isComplete } from "./gates.ts";
import { isOwnedBy } from "./plan.ts";
import type { Problem } from "./specproblem.ts";

export type VersionBase = ModelVersionSpec["base"];

/** What is known of the model that `spec.base.modelRef` names. */
export interface BaseWorld {
  /** That model, the base of that one, and so on, until there is no other or it comes round; empty: there is none. */
  chain: readonly DeepModel[];
  /** Versions of the first of them. */
  versions: readonly ModelVersion[];
}

export type WantedBase =
  | { is: "known"; base: VersionBase; isSettled: boolean; waiting: Problem | undefined }
  | { is: "unknown"; waiting: Problem }
  /** It can never be the base of this spec. */
  | { is: "impossible"; problem: Problem };

/** Whether the weights begin trained; known from the spec alone. */
export const beginsPretrained = (
  { base }: DeepModel["spec"],
  { bases }: TemplateRevision,
): boolean =>
  base?.http !== undefined ||
  base?.modelRef !== undefined ||
  catalogueBase(base?.name ?? bases[0]).digest !== undefined;

export const wantedBase = (
  model: DeepModel,
  template: TemplateRevision,
  world: BaseWorld,
): WantedBase => {
  const { modelRef } = model.spec.base ?? {};
  if (modelRef !== undefined) return modelBase(model, template, modelRef, world);
  return { is: "known", base: writtenBase(model, template), isSettled: true, waiting: undefined };
};

/** A base that needs nothing else to be known. */
const writtenBase = ({ spec }: DeepModel, { bases }: TemplateRevision): VersionBase => {
  const { http, name } = spec.base ?? {};
  if (http !== undefined) return { id: "http", digest: `sha256:${http.sha256}`, url: http.url };
  return { ...catalogueBase(name ?? bases[0]) };
};

/** The base of this spec if `version` was made of it; undefined: the spec asks for another one. */
export const baseOfVersion = (
  model: DeepModel,
  template: TemplateRevision,
  { spec: { base } }: ModelVersion,
): VersionBase | undefined => {
  const { modelRef } = model.spec.base ?? {};
  if (modelRef === undefined) return writtenBase(model, template);
  const isMeant =
    base.model?.name === modelRef.name &&
    (modelRef.version === undefined || modelRef.version === base.model.number);
  return isMeant ? base : undefined;
};

type ModelRef = NonNullable<NonNullable<DeepModel["spec"]["base"]>["modelRef"]>;

const modelBase = (
  model: DeepModel,
  template: TemplateRevision,
  { name, version }: ModelRef,
  { chain, versions }: BaseWorld,
): WantedBase => {
  const round = chain.findIndex(({ metadata }) => metadata.name === model.metadata.name);
  if (round >= 0) return { is: "impossible", problem: cycle(model, chain.slice(0, round + 1)) };
  const [base] = chain;
  if (base === undefined || base.metadata.deletionTimestamp !== undefined) {
    return unknown(
      "BaseNotFound",
      `spec.base.modelRef.name: there is no DeepModel ${name} in this namespace; waiting for it`,
    );
  }
  const own = versions.filter(
    (each) => isOwnedBy(each, base.metadata) && each.metadata.deletionTimestamp === undefined,
  );
  const named = version === undefined ? undefined : own.find(({ spec }) => spec.number === version);
  const problem = incompatible(model, template, name, named?.spec.template ?? base.spec.template);
  if (problem !== undefined) return { is: "impossible", problem };
  return version === undefined ? readyBase(base, template, own) : namedBase(base, version, named);
};

const unknown = (reason: "BaseNotFound" | "BaseNotReady", message: string): WantedBase => ({
  is: "unknown",
  waiting: { reason, message },
});

const cycle = (model: DeepModel, chain: readonly DeepModel[]): Problem => ({
  reason: "BaseCycle",
  message: `spec.base.modelRef.name: ${[model, ...chain].map(({ metadata }) => metadata.name).join(" begins with ")}; name another base in one of them`,
});

const namedBase = (
  { metadata: { name } }: DeepModel,
  number: number,
  version: ModelVersion | undefined,
): WantedBase => {
  if (version === undefined) {
    return unknown(
      "BaseNotFound",
      `spec.base.modelRef.version: DeepModel ${name} has no version ${number}; waiting for it`,
    );
  }
  return isComplete(version)
    ? pinned(version, undefined)
    : unknown(
        "BaseNotReady",
        `version ${number} of DeepModel ${name} is not trained: ${why(version.status)}`,
      );
};

/** As for data: new versions are made only once it is certain which weights are meant. */
const readyBase = (
  base: DeepModel,
  template: TemplateRevision,
  versions: readonly ModelVersion[],
): WantedBase => {
  const { name, generation } = base.metadata;
  const { status } = base;
  const ready = versions.find(
    (each) => each.metadata.name === status?.readyVersion && isComplete(each),
  );
  if (ready === undefined) {
    return unknown(
      "BaseNotReady",
      `DeepModel ${name} has no version that is ready: ${why(status)}`,
    );
  }
  if (!canServe(template, ready.spec.template)) {
    return unknown(
      "BaseNotReady",
      `DeepModel ${name} has no version of ${base.spec.template} that is ready: ${why(status)}`,
    );
  }
  const isSettled =
    status?.observedGeneration === (generation ?? 0) && !isTrue(status, "Reconciling");
  return pinned(
    ready,
    isSettled
      ? undefined
      : { reason: "BaseNotReady", message: `DeepModel ${name} is about to change: ${why(status)}` },
  );
};

const why = (status: Parameters<typeof condition>[0]): string =>
  condition(status, "Ready")?.reason ?? "it has not been looked at yet";

const pinned = (version: ModelVersion, waiting: Problem | undefined): WantedBase => {
  const { artifact } = version.status ?? {};
  const { model, number } = version.spec;
  return artifact === undefined
    ? unknown("BaseNotReady", `${version.metadata.name} is not trained`)
    : {
        is: "known",
        base: {
          id: "model",
          digest: artifact.digest,
          model: { ...model, number, path: artifact.path },
        },
        isSettled: waiting === undefined,
        waiting,
      };
};

/** A head stands on what gives one vector an image; a network begins with weights of its own architecture. */
const canServe = (template: TemplateRevision, base: TemplateName): boolean => {
  const { type, backbone } = newestTemplate(base);
  if (template.backbone === undefined) {
    return type === "visual-classifier" || type === "visual-embedder";
  }
  return backbone === template.backbone;
};

const incompatible = (
  model: DeepModel,
  template: TemplateRevision,
  name: string,
  base: TemplateName,
): Problem | undefined =>
  canServe(template, base)
    ? undefined
    : {
        reason: "BaseIncompatible",
        message: `spec.base.modelRef.name: DeepModel ${name} is a ${base}, which cannot be the base of a ${model.spec.template}; name one of ${templateNames.filter((each) => canServe(template, each)).join(", ")}`,
      };

export type ResolvedBase = Pick<Resolved["base"], "name" | "digest">;

/** For `status.resolved.base`: what the weights begin with, as far as it is known. */
export const resolvedBase = (
  model: DeepModel,
  template: TemplateRevision,
  found: WantedBase,
): ResolvedBase => {
  const base = found.is === "known" ? found.base : undefined;
  const digest = base?.digest === undefined ? {} : { digest: base.digest };
  if (base?.model !== undefined) {
    return { name: `${base.model.name}-v${base.model.number}`, ...digest };
  }
  const name = model.spec.base?.modelRef?.name ?? writtenBase(model, template).id;
  return { name, ...digest };
};

/** Others that begin with this model. */
export interface BaseUsers {
  /** DeepModels whose `spec.base.modelRef` names it. */
  models: readonly DeepModel[];
  /** Versions that were made of one of its versions. */
  versions: readonly ModelVersion[];
}

/** Numbers of the versions of a model that others begin with. */
export const numbersInUse = (
  { metadata }: DeepModel,
  { models, versions }: BaseUsers,
): ReadonlySet<number> =>
  new Set([
    ...models.flatMap(({ spec }) => spec.base?.modelRef?.version ?? []),
    ...versions.flatMap(({ spec: { base } }) =>
      base.model?.uid === metadata.uid ? [base.model.number] : [],
    ),
  ]);
