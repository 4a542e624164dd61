// Where training pods may run, and the queue they wait in.

import { z } from "zod";
import { text } from "./text.ts";

export const Toleration = z
  .object({
    key: z.string().max(317).optional().describe("Taint key that is tolerated. Empty: all keys."),
    operator: z
      .enum(["Exists", "Equal"])
      .optional()
      .describe("How key and value are compared. Default Equal."),
    value: z.string().max(63).optional().describe("Taint value that is tolerated."),
    effect: z
      .enum(["NoSchedule", "PreferNoSchedule", "NoExecute"])
      .optional()
      .describe("Taint effect that is tolerated. Empty: all effects."),
    tolerationSeconds: z
      .int()
      .min(0)
      .max(2 ** 31 - 1)
      .optional()
      .describe("How long a NoExecute taint is tolerated, in seconds."),
  })
  .describe("A taint that the training pod tolerates.");

export const Scheduling = z
  .object({
    nodeSelector: z
      .record(z.string(), z.string().max(63))
      .refine((labels) => Object.keys(labels).length <= 32)
      .meta({ maxProperties: 32 })
      .optional()
      .describe("Labels that the node must have."),
    tolerations: z
      .array(Toleration)
      .max(32)
      .optional()
      .meta({ "x-kubernetes-list-type": "atomic" })
      .describe("Taints that are tolerated."),
    priorityClassName: z
      .string()
      .min(1)
      .max(253)
      .optional()
      .describe("PriorityClass of the training pod."),
    runtimeClassName: z
      .string()
      .min(1)
      .max(253)
      .optional()
      .describe(
        "RuntimeClass of the training pod. The pod that prepares on CPU for one with GPUs has none.",
      ),
    queueName: text(
      63,
      /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/,
      "the name of a LocalQueue consists of lower-case letters, digits, dashes and dots",
    )
      .optional()
      .describe(
        "Kueue's LocalQueue, in this namespace, that admits the training Jobs. They wait for its quota, and may lose it to a higher priority: then they go on from their last checkpoint. Without Kueue in the cluster they start at once.",
      ),
    workloadPriorityClassName: text(
      63,
      /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/,
      "the name of a WorkloadPriorityClass consists of lower-case letters, digits, dashes and dots",
    )
      .optional()
      .describe(
        "Kueue's WorkloadPriorityClass: the priority in the queue. Default: the priority of the pod.",
      ),
  })
  .describe("Where the training pod may run.");
export type Scheduling = z.infer<typeof Scheduling>;
