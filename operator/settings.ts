// The operator's command line. Few options, each with one meaning; nothing is read from the environment.

import { parseArgs } from "node:util";
import { z } from "zod";
import type { StoreSettings } from "./plan/plan.ts";
import { quantityValue } from "./plan/quantity.ts";

export interface OperatorSettings {
  /** Namespace of the Lease, the progress endpoint's certificate and the Service. */
  namespace: string;
  trainerImage: string;
  /** Host name or address by which pods reach the progress endpoint; absent = no progress over the network. */
  progressHost: string;
  progressPort: number;
  healthPort: number;
  store: StoreSettings;
  /** A quantity, such as `2Gi`. */
  importMemory: string;
  denyPrivateSources: boolean;
  kubeconfig?: string;
}

export const usage = `usage: operator --trainer-image=IMAGE --progress-host=HOST [options]
  --namespace=NAME             namespace of the operator's own objects (deeptrain-system)
  --trainer-image=IMAGE        image of the training and import Jobs
  --progress-host=HOST         name or address by which pods reach this process
  --progress-port=PORT         port of the progress endpoint (8443)
  --health-port=PORT           port of /healthz, /readyz and /metrics (8080)
  --store-size=QUANTITY        size of a namespace's claim deeptrain-store, where it is not there (100Gi)
  --store-access-mode=MODE     ReadWriteMany (default) or ReadWriteOnce
  --store-storage-class=NAME   its StorageClass (the cluster's default)
  --import-memory=QUANTITY     memory of an import (2Gi, for a million items; each GiB more is good for a million more)
  --deny-private-sources       refuse datasets at private addresses
  --kubeconfig=PATH            a kubeconfig; without it $KUBECONFIG, ~/.kube/config or the pod's own account`;

/** Below it a picture of the largest size that is accepted would not be decoded. */
const LEAST_IMPORT_BYTES = 512 * 2 ** 20;

const port = z.coerce.number().pipe(z.int().min(1).max(65535));

const CommandLine = z.object({
  namespace: z.string().min(1),
  "trainer-image": z.string("--trainer-image is required").min(1),
  "progress-host": z.string("--progress-host is required").regex(/^[A-Za-z0-9.:-]+$/),
  "progress-port": port,
  "health-port": port,
  "store-size": z.string().regex(/^[0-9]+(Mi|Gi|Ti)$/, "--store-size is a quantity such as 100Gi"),
  "store-access-mode": z.enum(["ReadWriteOnce", "ReadWriteMany"]),
  "store-storage-class": z.string().min(1).optional(),
  "import-memory": z
    .string()
    .regex(/^[0-9]+(Mi|Gi)$/, "--import-memory is a quantity such as 2Gi")
    .refine(
      (memory) => (quantityValue(memory) ?? 0) >= LEAST_IMPORT_BYTES,
      "--import-memory is at least 512Mi",
    ),
  "deny-private-sources": z.boolean(),
  kubeconfig: z.string().min(1).optional(),
});

/** Throws an Error whose message names the option that is wrong. */
export function parseSettings(args: string[]): OperatorSettings {
  const { values } = parseArgs({
    args,
    options: {
      namespace: { type: "string", default: "deeptrain-system" },
      "trainer-image": { type: "string" },
      "progress-host": { type: "string" },
      "progress-port": { type: "string", default: "8443" },
      "health-port": { type: "string", default: "8080" },
      "store-size": { type: "string", default: "100Gi" },
      "store-access-mode": { type: "string", default: "ReadWriteMany" },
      "store-storage-class": { type: "string" },
      "import-memory": { type: "string", default: "2Gi" },
      "deny-private-sources": { type: "boolean", default: false },
      kubeconfig: { type: "string" },
    },
  });
  const parsed = CommandLine.safeParse(values);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new Error(`--${String(issue?.path[0])}: ${issue?.message}`);
  }
  const line = parsed.data;
  const storageClassName = line["store-storage-class"];
  return {
    namespace: line.namespace,
    trainerImage: line["trainer-image"],
    progressHost: line["progress-host"],
    progressPort: line["progress-port"],
    healthPort: line["health-port"],
    store: {
      size: line["store-size"],
      accessMode: line["store-access-mode"],
      ...(storageClassName === undefined ? {} : { storageClassName }),
    },
    importMemory: line["import-memory"],
    denyPrivateSources: line["deny-private-sources"],
    ...(line.kubeconfig === undefined ? {} : { kubeconfig: line.kubeconfig }),
  };
}
