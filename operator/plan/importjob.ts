// The Job that imports a Dataset: it checks every item and writes a content-addressed copy.

import type { Dataset } from "../../api/dataset.ts";
import { datasetsPath, label, podPath } from "../../api/group.ts";
import type { ImportRun } from "../../api/run.ts";
import type { Manifest, Settings } from "./plan.ts";
import { ownerReference } from "./plan.ts";
import { trainerJob } from "./trainerpod.ts";

/**
 * `<dataset>-import-<digest8>`, with `-a<K>` from the second attempt of a Dataset's life on: a Job is created once,
 * and the one that failed may still be there.
 */
export const importJobName = (dataset: string, inputsHash: string, attempt: number): string =>
  `${dataset}-import-${inputsHash.replace(/^sha256:/, "").slice(0, 8)}${attempt > 1 ? `-a${attempt}` : ""}`;

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
    ...(spec.splits === undefined ? {} : { splits: spec.splits }),
    ...(spec.concepts === undefined ? {} : { concepts: spec.concepts }),
    invalidPercent: spec.tolerance?.invalidPercent ?? 5,
    datasets: podPath.datasets,
    denyPrivateSources: settings.denyPrivateSources,
    limits: settings.importLimits,
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
      resources: { cpu: "1", memory: "2Gi" },
      oneNode,
    },
    settings,
  );
};
