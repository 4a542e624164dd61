// What the planners read of Kubernetes' own objects, and nothing else: these are also the copies that are kept in
// memory. What is not read is not judged, and a value that this release does not know is a string like any other.

import { z } from "zod";
import { OwnerReference } from "../../api/objectmeta.ts";

const ObjectMeta = z.object({
  name: z.string(),
  namespace: z.string(),
  uid: z.string(),
  resourceVersion: z.string(),
  creationTimestamp: z.string(),
  deletionTimestamp: z.string().optional(),
  labels: z.record(z.string(), z.string()).optional(),
  ownerReferences: z.array(OwnerReference).optional(),
});

/** A condition of a Job, a pod or a Workload. */
export const Condition = z.object({
  type: z.string(),
  status: z.string(),
  reason: z.string().optional(),
  message: z.string().optional(),
  lastTransitionTime: z.string().nullish(),
});

export const Job = z.object({
  metadata: ObjectMeta.extend({
    annotations: z.record(z.string(), z.string()).optional(),
  }),
  spec: z.object({
    suspend: z.boolean().optional(),
    completions: z.number().nullish(),
    template: z.object({
      spec: z.object({
        containers: z.array(z.object({ name: z.string(), image: z.string().optional() })),
      }),
    }),
  }),
  status: z
    .object({
      conditions: z.array(Condition).optional(),
      startTime: z.string().nullish(),
      completionTime: z.string().nullish(),
    })
    .optional(),
});
export type Job = z.infer<typeof Job>;

const terminated = z.object({
  exitCode: z.number(),
  reason: z.string().optional(),
  message: z.string().optional(),
  startedAt: z.string().nullish(),
  finishedAt: z.string().nullish(),
});

const containerStatus = z.object({
  name: z.string(),
  imageID: z.string().optional(),
  state: z
    .object({
      waiting: z
        .object({ reason: z.string().optional(), message: z.string().optional() })
        .optional(),
      running: z.object({ startedAt: z.string().nullish() }).optional(),
      terminated: terminated.optional(),
    })
    .optional(),
});

export const Pod = z.object({
  metadata: ObjectMeta,
  spec: z.object({ nodeName: z.string().optional() }),
  status: z
    .object({
      phase: z.string().optional(),
      reason: z.string().optional(),
      message: z.string().optional(),
      conditions: z.array(Condition).optional(),
      containerStatuses: z.array(containerStatus).optional(),
    })
    .optional(),
});
export type Pod = z.infer<typeof Pod>;

export const Event = z.object({
  involvedObject: z.object({ kind: z.string().optional(), uid: z.string().optional() }),
  type: z.string().optional(),
  reason: z.string().optional(),
  message: z.string().optional(),
  lastTimestamp: z.string().nullish(),
  eventTime: z.string().nullish(),
});
export type Event = z.infer<typeof Event>;

export const Claim = z.object({
  metadata: ObjectMeta,
  spec: z.object({ accessModes: z.array(z.string()).optional() }),
});
export type Claim = z.infer<typeof Claim>;
