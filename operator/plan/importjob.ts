// The Job that imports a Dataset: it checks every item and writes a content-addressed copy.

import { type Dataset, takesFrames } from "../../api/dataset.ts";
import { datasetsPath, label, podPath } from "../../api/group.ts";
import { framesPerSecond } from "../../api/inputs.ts";
import type { ImportRun } from "../../api/run.ts";
import type { Manifest, Settings } from "./plan.ts";
import { ownerReference } from "./plan.ts";
import { quantityValue } from "./quantity.ts";
import { trainerJob } from "./trainerpod.ts";

/**
 * `<dataset>-import-<digest8>`, with `-a<K>` from the second attempt of a Dataset's life on: a Job is created once,
 * and the one that failed may still be there.
 */
export const importJobName = (dataset: string, inputsHash: string, attempt: number): string =>
  `${dataset}-import-${inputsHash.replace(/^sha256:/, "").slice(0, 8)}${attempt > 1 ? `-a${attempt}` : ""}`;

const GIB = 2 ** 30;
/** Of the importer at its peak: 770 to 820 were measured, with paths of 60 characters, in tar and zip. */
const BYTES_PER_ITEM = 1024;

/**
 * How many items an import of so much memory may have. Up to 1 GiB, half of it at most, is kept for what does not
 * grow with them: the processes, and the decoding of one picture of the largest size that is accepted.
 */
export const importItems = (memory: string): number => {
  const bytes = quantityValue(memory) ?? 2 * GIB;
  return Math.max(1, Math.floor((bytes - Math.min(GIB, bytes / 2)) / BYTES_PER_ITEM));
};

export interface ImportInputs {
  dataset: Dataset;
  inputsHash: string;
  attempt: number;
  oneNode: boolean;
}

export const importJob = (
  { dataset, inputsHash, attempt, oneNode }: ImportInputs,
  settings: Settings,
): Manifest => {
  const { metadata, spec } = dataset;
  const { http, pvc } = spec.source;
  const run: ImportRun = {
    task: "import",
    object: { namespace: metadata.namespace, name: metadata.name, uid: metadata.uid },
    attempt,
    ...(settings.progressUrl === undefined ? {} : { progressUrl: settings.progressUrl }),
    source:
      http === undefined
        ? {
            pvc: {
              path: pvc?.path === undefined ? podPath.source : `${podPath.source}/${pvc.path}`,
            },
          }
        : { http },
    format: spec.format,
    ...(takesFrames(spec.format) ? { framesPerSecond: framesPerSecond(spec) } : {}),
    ...(spec.splits === undefined ? {} : { splits: spec.splits }),
    ...(spec.concepts === undefined ? {} : { concepts: spec.concepts }),
    invalidPercent: spec.tolerance?.invalidPercent ?? 5,
    datasets: podPath.datasets,
    denyPrivateSources: settings.denyPrivateSources,
    limits: { ...settings.importLimits, items: importItems(settings.importMemory) },
  };
  return trainerJob(
    {
      namespace: metadata.namespace,
      name: importJobName(metadata.name, inputsHash, attempt),
      owner: ownerReference("Dataset", metadata),
      labels: {
        [label.task]: "import",
        [label.dataset]: metadata.name,
        [label.attempt]: String(attempt),
      },
      run,
      store: [
        {
          subPath: datasetsPath(metadata.namespace),
          mountPath: podPath.datasets,
          readOnly: false,
        },
      ],
      ...(pvc === undefined ? {} : { sourceClaim: pvc.claimName }),
      resources: { cpu: "1", memory: settings.importMemory },
      oneNode,
    },
    settings,
  );
};
