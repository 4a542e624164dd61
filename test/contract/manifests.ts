// Manifests and the verdict on each. The API server (manifests.contract.test.ts) and zod (manifests.test.ts) must
// both agree: accepted or refused, and the first field that is named.

import { acceptedDatasets, refusedDatasets } from "./datasetmanifests.ts";
import type { ManifestCase } from "./manifest.ts";
import { acceptedModels, refusedModels } from "./modelmanifests.ts";
import { acceptedTemplates, refusedTemplates } from "./templatemanifests.ts";

export const manifestCases: readonly ManifestCase[] = [
  ...acceptedModels,
  ...refusedModels,
  ...acceptedTemplates,
  ...refusedTemplates,
  ...acceptedDatasets,
  ...refusedDatasets,
];
