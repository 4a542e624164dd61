// What makes a version and what makes an import: the digests that decide whether anything is done anew.

import { canonicalDigest } from "./canonical.ts";
import { type DatasetSpec, takesFrames } from "./dataset.ts";
import type { ModelVersionSpec } from "./modelversion.ts";

/** The part of a ModelVersion's spec that is hashed. */
export type TrainingInputs = Pick<
  ModelVersionSpec,
  "template" | "templateRevision" | "hyperparameters" | "seed" | "concepts"
> & {
  dataset: Pick<ModelVersionSpec["dataset"], "digest" | "splitDigest">;
  base: Pick<ModelVersionSpec["base"], "digest">;
};

/**
 * The identity of a version: SHA-256 over the canonical JSON of its training inputs. The base counts by the digest
 * of its weights (absent: random initialisation), names of objects do not count. test/golden/inputs-hash.json holds
 * what every release must reproduce.
 */
export const inputsHash = (inputs: TrainingInputs): string =>
  canonicalDigest({
    template: inputs.template,
    templateRevision: inputs.templateRevision,
    hyperparameters: inputs.hyperparameters,
    seed: inputs.seed,
    concepts: inputs.concepts,
    dataset: inputs.dataset.digest,
    splits: inputs.dataset.splitDigest,
    base: inputs.base.digest,
  });

/** Frames that are taken of each second of a video. */
export const framesPerSecond = (spec: DatasetSpec): number => spec.framesPerSecond ?? 1;

/** Digest of the part of a Dataset's spec that decides what is imported. A default that is written counts as unwritten. */
export const importInputsHash = (spec: DatasetSpec): string =>
  canonicalDigest({
    source: spec.source,
    format: spec.format,
    // It means nothing to the other formats, and is refused there.
    framesPerSecond: takesFrames(spec.format) ? framesPerSecond(spec) : undefined,
    ratios: spec.splits?.ratios,
    seed: spec.splits?.seed ?? 0,
    concepts: spec.concepts,
    invalidPercent: spec.tolerance?.invalidPercent ?? 5,
  });
