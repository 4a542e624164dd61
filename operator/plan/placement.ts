// What an attempt is made with beside the version's inputs: resources, scheduling, deadline, with their defaults, and the
// address of a base. A digest of it tells whether the user has changed any of it since.

import { z } from "zod";
import { canonicalDigest } from "../../api/canonical.ts";
import type { DeepModelSpec } from "../../api/deepmodel.ts";
import { annotation } from "../../api/group.ts";
import type { Scheduling } from "../../api/scheduling.ts";
import { newestTemplate, type TemplateName } from "../../api/templates.ts";
import type { Job } from "./kubernetes.ts";
import { quantityTimes, quantityValue } from "./quantity.ts";

export interface Placement {
  cpu: string;
  memory: string;
  /** Nobody asked for that memory: it is the template's. */
  memoryIsDefault?: true;
  gpus: number;
  /** Pods that train together; absent where it is one. */
  nodes?: number;
  gpuResourceName: string;
  scheduling: Scheduling;
  activeDeadlineSeconds?: number;
  /** Where the base's file is fetched from; which file it is, its digest says. */
  baseUrl?: string;
}

export const placementOf = (spec: DeepModelSpec): Placement => ({
  cpu: spec.resources?.cpu ?? "2",
  ...(spec.resources?.memory === undefined
    ? { memory: defaultMemory(spec), memoryIsDefault: true as const }
    : { memory: spec.resources.memory }),
  gpus: spec.resources?.gpus ?? 0,
  ...several(spec.resources?.nodes ?? 1),
  gpuResourceName: spec.resources?.gpuResourceName ?? "nvidia.com/gpu",
  scheduling: { ...spec.scheduling },
  ...(spec.activeDeadlineSeconds === undefined
    ? {}
    : { activeDeadlineSeconds: spec.activeDeadlineSeconds }),
  ...(spec.base?.http === undefined ? {} : { baseUrl: spec.base.http.url }),
});

/** A process for each GPU of the node. */
const defaultMemory = ({ template, resources }: DeepModelSpec): string =>
  quantityTimes(newestTemplate(template).memory, Math.max(1, resources?.gpus ?? 0));

/** For what one process does before those of the GPUs, on a CPU. */
export const placementAlone = (placement: Placement, template: TemplateName): Placement =>
  placement.memoryIsDefault === true
    ? { ...placement, memory: newestTemplate(template).memory }
    : placement;

const several = (nodes: number): Pick<Placement, "nodes"> => (nodes > 1 ? { nodes } : {});

/** Another release's default is no change of the user's: it cures, replaces and begins nothing. */
export const placementDigest = ({ memoryIsDefault, memory, ...others }: Placement): string =>
  canonicalDigest(memoryIsDefault === true ? others : { ...others, memory });

/** Processes that share each batch: one for each GPU, without GPUs one on each node. */
export const processesOf = (resources: DeepModelSpec["resources"]): number =>
  Math.max(1, resources?.gpus ?? 0) * (resources?.nodes ?? 1);

/** Threads of PyTorch: whole CPUs, at least one, at most what the run file allows. */
export const threadsOf = ({ cpu }: Placement): number =>
  Math.min(1024, Math.max(1, Math.floor(quantityValue(cpu) ?? 1)));

export const resourceQuantities = (placement: Placement): Record<string, string> => ({
  cpu: placement.cpu,
  memory: placement.memory,
  ...(placement.gpus > 0 ? { [placement.gpuResourceName]: String(placement.gpus) } : {}),
});

/** What an attempt was made with, as its Job tells it whatever became of the status or the DeepModel since. */
const JobPlacement = z.object({
  digest: z.string().max(71),
  cpu: z.string().max(32),
  memory: z.string().max(32),
  gpus: z.int().min(0),
  threads: z.int().min(1).max(1024),
});
export type JobPlacement = z.infer<typeof JobPlacement>;

export const jobPlacement = (placement: Placement, threads: number): JobPlacement => ({
  digest: placementDigest(placement),
  cpu: placement.cpu,
  memory: placement.memory,
  gpus: placement.gpus,
  threads,
});

/** Undefined where the annotation is missing or is no placement. */
export const placementOfJob = (job: Job): JobPlacement | undefined => {
  try {
    const text = job.metadata.annotations?.[annotation.placement] ?? "";
    return JobPlacement.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
};
