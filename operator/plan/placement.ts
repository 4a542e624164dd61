// What an attempt asks of the cluster: resources, scheduling, deadline, with their defaults. A digest of it tells
// whether the user has changed any of it since.

import { canonicalDigest } from "../../api/canonical.ts";
import type { DeepModelSpec } from "../../api/deepmodel.ts";
import { quantityValue } from "./quantity.ts";

export interface Placement {
  cpu: string;
  memory: string;
  gpus: number;
  gpuResourceName: string;
  scheduling: Record<string, unknown>;
  activeDeadlineSeconds?: number;
}

export const placementOf = (spec: DeepModelSpec): Placement => ({
  cpu: spec.resources?.cpu ?? "2",
  memory: spec.resources?.memory ?? "4Gi",
  gpus: spec.resources?.gpus ?? 0,
  gpuResourceName: spec.resources?.gpuResourceName ?? "nvidia.com/gpu",
  scheduling: { ...spec.scheduling },
  ...(spec.activeDeadlineSeconds === undefined
    ? {}
    : { activeDeadlineSeconds: spec.activeDeadlineSeconds }),
});

export const placementDigest = (placement: Placement): string => canonicalDigest(placement);

/** Threads of PyTorch: whole CPUs, at least one, at most what the run file allows. */
export const threadsOf = ({ cpu }: Placement): number =>
  Math.min(1024, Math.max(1, Math.floor(quantityValue(cpu) ?? 1)));

export const resourceQuantities = (placement: Placement): Record<string, string> => ({
  cpu: placement.cpu,
  memory: placement.memory,
  ...(placement.gpus > 0 ? { [placement.gpuResourceName]: String(placement.gpus) } : {}),
});
