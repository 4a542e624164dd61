// What the operator may do: one table, from which the ClusterRole and the Role are made. A verb is here because a
// line of code uses it.

import { GROUP } from "../../api/group.ts";

/** Of the operator's own objects: its Deployment, Service, Lease and account. */
export const OPERATOR_NAME = "deeptrain-operator";
/** The Secret with the certificate of the progress endpoint. */
export const CERTIFICATE_NAME = "deeptrain-progress";

export interface Access {
  /** Empty for the core group. */
  apiGroup: string;
  resource: string;
  verbs: readonly string[];
  /** These alone. A create cannot be bound to names: the API server does not know them yet. */
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
  // What we make holds its owner back while it is deleted in the foreground. Where OwnerReferencesPermissionEnforcement
  // is on (OpenShift), only those may say so who may set the owner's finalizers; we set none.
  ...["datasets", "deepmodels", "modelversions"].map((owner) => ({
    apiGroup: GROUP,
    resource: `${owner}/finalizers`,
    verbs: ["update"],
  })),
  { apiGroup: "batch", resource: "jobs", verbs: [...read, "create", "delete"] },
  { apiGroup: "", resource: "pods", verbs: ["list", "watch"] },
  { apiGroup: "", resource: "events", verbs: ["list"] },
  // The claim deeptrain-store of each namespace: used if there, else created, never changed or deleted.
  { apiGroup: "", resource: "persistentvolumeclaims", verbs: ["get", "create"] },
  // The headless one by which the pods of several nodes find one another.
  { apiGroup: "", resource: "services", verbs: ["get", "create"] },
  // Nobody else reaches those pods.
  { apiGroup: "networking.k8s.io", resource: "networkpolicies", verbs: ["get", "create"] },
  // Why a Job that Kueue has suspended waits.
  { apiGroup: "kueue.x-k8s.io", resource: "workloads", verbs: ["list"] },
  { apiGroup: "events.k8s.io", resource: "events", verbs: ["create", "patch"] },
  { apiGroup: "authentication.k8s.io", resource: "tokenreviews", verbs: ["create"] },
];

const lease = { apiGroup: "coordination.k8s.io", resource: "leases" };
const secret = { apiGroup: "", resource: "secrets" };

/** In the operator's own namespace: its Lease, and the certificate of the progress endpoint. No other Secret. */
export const namespaceAccess: readonly Access[] = [
  { ...lease, verbs: ["create"] },
  { ...lease, verbs: ["get", "update"], resourceNames: [OPERATOR_NAME] },
  { ...secret, verbs: ["create"] },
  { ...secret, verbs: ["get", "update"], resourceNames: [CERTIFICATE_NAME] },
];
