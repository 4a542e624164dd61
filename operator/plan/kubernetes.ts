// What the planners read of Kubernetes' own objects. Loose: what is not read is not judged, and a value that this
// release does not know is a string like any other.

import { z } from "zod";
import { ObjectMeta } from "../../api/objectmeta.ts";

const condition = z.looseObject({
  type: z.string(),
  status: z.string(),
  reason: z.string().optional(),
  message: z.string().optional(),
  lastTransitionTime: z.string().nullish(),
});

export const Job = z.looseObject({
  metadata: ObjectMeta,
  spec: z.looseObject({
    suspend: z.boolean().optional(),
    template: z.looseObject({
      spec: z.looseObject({
        containers: z.array(z.looseObject({ name: z.string(), image: z.string().optional() })),
      }),
    }),
  }),
  status: z
    .looseObject({
      conditions: z.array(condition).optional(),
      startTime: z.string().nullish(),
      completionTime: z.string().nullish(),
    })
    .optional(),
});
export type Job = z.infer<typeof Job>;

const terminated = z.looseObject({
  exitCode: z.number(),
  reason: z.string().optional(),
  message: z.string().optional(),
  startedAt: z.string().nullish(),
  finishedAt: z.string().nullish(),
});

const containerStatus = z.looseObject({
  name: z.string(),
  imageID: z.string().optional(),
  state: z
    .looseObject({
      waiting: z
        .looseObject({ reason: z.string().optional(), message: z.string().optional() })
        .optional(),
      running: z.looseObject({ startedAt: z.string().nullish() }).optional(),
      terminated: terminated.optional(),
    })
    .optional(),
});

export const Pod = z.looseObject({
  metadata: ObjectMeta,
  spec: z.looseObject({ nodeName: z.string().optional() }),
  status: z
    .looseObject({
      phase: z.string().optional(),
      reason: z.string().optional(),
      message: z.string().optional(),
      conditions: z.array(condition).optional(),
      containerStatuses: z.array(containerStatus).optional(),
    })
    .optional(),
});
export type Pod = z.infer<typeof Pod>;

export const Event = z.looseObject({
  involvedObject: z.looseObject({ kind: z.string().optional(), uid: z.string().optional() }),
  type: z.string().optional(),
  reason: z.string().optional(),
  message: z.string().optional(),
  lastTimestamp: z.string().nullish(),
  eventTime: z.string().nullish(),
});
export type Event = z.infer<typeof Event>;

export const Claim = z.looseObject({
  metadata: ObjectMeta,
  spec: z.looseObject({ accessModes: z.array(z.string()).optional() }),
});
export type Claim = z.infer<typeof Claim>;
