// A manifest and the verdict on it.

import { API_VERSION } from "../../api/group.ts";

export type Values = Record<string, unknown>;

export interface ManifestCase {
  name: string;
  manifest: Values & { kind: string; metadata: { name: string }; spec: unknown };
  /** The field that a refusal names first; absent: accepted. */
  refused?: string;
  /** The field is unknown to the schema, so each kind of client gets an answer of its own. */
  unknown?: true;
}

/** An object of one of our kinds. */
export const object = (kind: string, spec: unknown, name = "it"): ManifestCase["manifest"] => ({
  apiVersion: API_VERSION,
  kind,
  metadata: { name },
  spec,
});

/** A DeepModel with the least there can be, and this change. */
export const model = (change: Values, name?: string): ManifestCase["manifest"] =>
  object(
    "DeepModel",
    { template: "visual-classifier/resnet18", datasetRef: { name: "photos" }, ...change },
    name,
  );
