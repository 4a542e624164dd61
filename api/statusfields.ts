// Fields that the status of more than one kind has.

import { z } from "zod";

/** A number of things: epochs, steps, items, bytes. */
export const count = z.int().min(0).max(1_000_000_000_000);

/** A moment as RFC 3339, in UTC. */
export const time = z.string().max(64).meta({ format: "date-time" });

export const observedGeneration = z
  .int()
  .min(-1)
  .max(Number.MAX_SAFE_INTEGER)
  .optional()
  .describe("The metadata.generation that this status speaks of.");

/** How a model's tensors begin, by their number. */
export const baseCounts = {
  loaded: count.describe(
    "Tensors of the model that began with the base's values: those whose name and shape match.",
  ),
  new: count.describe("Its other tensors, which began at random."),
};

export const lastHandledRetry = z
  .string()
  .max(256)
  .optional()
  .describe("The last value of the annotation deeptrain.dev/retry that was acted upon.");
