// What the operator may do: one table, from which the ClusterRole and the Role are made. A verb is here because a
// line of code uses it.

import { GROUP } from "../../api/group.ts";

export interface Access {
  /** Empty for the core group. */
  apiGroup: string;
  resource: string;
  verbs: readonly string[];
  resourceNames?: readonly string[];
}

const read = ["get", "list", "watch"] as const;

/** In all namespaces. */
export const clusterAccess: readonly Access[] = [
  { apiGroup: GROUP, resource: "datasets", verbs: read },
  { apiGroup: GROUP, resource: "deepmodels", verbs: read },
  { apiGroup: GROUP, resource: "modelversions", verbs: [...read, "create", "delete"] },
  { apiGroup: GROUP, resource: "datasets/status", verbs: ["update", "patch"] },
  { apiGroup: GROUP, resource: "deepmodels/status", verbs: ["update", "patch"] },
  { apiGroup: GROUP, resource: "modelversions/status", verbs: ["update"] },
  { apiGroup: "batch", resource: "jobs", verbs: [...read, "create", "delete"] },
  { apiGroup: "", resource: "pods", verbs: read },
  { apiGroup: "", resource: "events", verbs: ["list"] },
  // The claim deeptrain-store of each namespace: used if there, else created, never changed or deleted.
  { apiGroup: "", resource: "persistentvolumeclaims", verbs: ["get", "create"] },
  { apiGroup: "events.k8s.io", resource: "events", verbs: ["create", "patch"] },
  { apiGroup: "authentication.k8s.io", resource: "tokenreviews", verbs: ["create"] },
];

/** In the operator's own namespace: its Lease, and the certificate of the progress endpoint. */
export const namespaceAccess: readonly Access[] = [
  { apiGroup: "coordination.k8s.io", resource: "leases", verbs: ["get", "create", "update"] },
  { apiGroup: "", resource: "secrets", verbs: ["get", "create", "update"] },
];
