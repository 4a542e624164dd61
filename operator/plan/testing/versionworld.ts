// What the planner of a version is given in tests, and its answer in a few words.

import { expect } from "vitest";
import type { DeepModel } from "../../../api/deepmodel.ts";
import {
  type ModelVersionStatus,
  ModelVersionStatus as StatusSchema,
} from "../../../api/modelversion.ts";
import { condition } from "../conditions.ts";
import { planVersion } from "../modelversion.ts";
import type { Plan } from "../plan.ts";
import type { VersionWorld } from "../versionworld.ts";
import { at, claim, model, settings, T0, version } from "./gen.ts";
import { brokenInvariants } from "./invariants.ts";

/** The model, which wants this version. */
export const wanting = (
  given: { spec?: object; meta?: object; wanted?: string; status?: object } = {},
): DeepModel =>
  model({
    ...(given.meta === undefined ? {} : { meta: given.meta }),
    ...(given.spec === undefined ? {} : { spec: given.spec }),
    status: {
      observedGeneration: 1,
      wantedVersion: given.wanted ?? "pets-v1",
      wantedSince: T0,
      ...given.status,
    },
  });

export const world = (given: Partial<VersionWorld> & { status?: unknown } = {}): VersionWorld => ({
  version: version(given.status === undefined ? {} : { status: given.status }),
  model: wanting(),
  jobs: [],
  pods: [],
  siblingJobs: [],
  events: [],
  claim,
  mails: [],
  refusals: [],
  settings,
  now: at(200),
  ...given,
});

/** One pass, whose status is what the schema and the invariants allow. */
export const planned = (
  given: VersionWorld,
): Plan<ModelVersionStatus> & { status: ModelVersionStatus } => {
  const plan = planVersion(given);
  if (plan.status === undefined) throw new Error("no status");
  const { metadata } = given.version;
  expect(brokenInvariants({ metadata, status: plan.status })).toEqual([]);
  expect(StatusSchema.parse(plan.status)).toEqual(plan.status);
  return { ...plan, status: plan.status };
};

export const ready = ({ status }: { status: ModelVersionStatus }): string => {
  const found = condition(status, "Ready");
  return `${found?.status} ${found?.reason}`;
};
export const message = ({ status }: { status: ModelVersionStatus }): string =>
  condition(status, "Ready")?.message ?? "";
export const effects = (plan: Plan<ModelVersionStatus>): string[] =>
  plan.effects.map((effect) =>
    effect.verb === "create"
      ? `create ${effect.object.metadata.name}`
      : `delete ${effect.name} ${effect.uid}${effect.foreground ? " foreground" : ""}`,
  );
