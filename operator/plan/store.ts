// The claim that holds a namespace's datasets and models: used if there, else created from the installation's
// settings, never owned and never deleted.

import { STORE_CLAIM } from "../../api/group.ts";
import type { Claim } from "./kubernetes.ts";
import type { Effect, StoreSettings } from "./plan.ts";
import { ownLabels } from "./plan.ts";

export const storeClaim = (namespace: string, store: StoreSettings): Effect => ({
  verb: "create",
  object: {
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: { name: STORE_CLAIM, namespace, labels: ownLabels({}) },
    spec: {
      accessModes: [store.accessMode],
      ...(store.storageClassName === undefined ? {} : { storageClassName: store.storageClassName }),
      resources: { requests: { storage: store.size } },
    },
  },
});

/** True where only the pods of one node can mount the store. */
export const isOneNode = (claim: Claim | undefined, store: StoreSettings): boolean =>
  !(claim?.spec.accessModes ?? [store.accessMode]).includes("ReadWriteMany");
