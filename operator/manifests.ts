// What an installation consists of, beside the CRDs in crds/: namespace, identity, rights, Service and Deployment.
// `npx node operator/manifests.ts --operator-image X --trainer-image Y | kubectl apply -f -` installs it.

import { parseArgs } from "node:util";
import { stringify } from "yaml";
import { GROUP } from "../api/group.ts";
import {
  type Access,
  clusterAccess,
  namespaceAccess,
  OPERATOR_NAME,
} from "./controllers/access.ts";
import type { StoreSettings } from "./plan/plan.ts";
import { parseSettings } from "./settings.ts";

export { OPERATOR_NAME };
export const DEFAULT_NAMESPACE = "deeptrain-system";
export const PROGRESS_PORT = 8443;
export const HEALTH_PORT = 8080;

export interface Installation {
  namespace: string;
  operatorImage: string;
  trainerImage: string;
  store: StoreSettings;
  /** Absent: the operator's own default. */
  importMemory?: string;
  denyPrivateSources: boolean;
}

export interface InstallObject {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; labels?: Record<string, string> };
  [field: string]: unknown;
}

const labels = { "app.kubernetes.io/name": OPERATOR_NAME };

/** Host name of the progress endpoint as pods of any namespace reach it. */
export const progressHost = (namespace: string): string => `${OPERATOR_NAME}.${namespace}.svc`;

/** In the order in which they are to be applied. */
export function installObjects(installation: Installation): InstallObject[] {
  const { namespace } = installation;
  const metadata = { name: OPERATOR_NAME, namespace, labels };
  return [
    {
      apiVersion: "v1",
      kind: "Namespace",
      metadata: {
        name: namespace,
        labels: { ...labels, "pod-security.kubernetes.io/enforce": "restricted" },
      },
    },
    { apiVersion: "v1", kind: "ServiceAccount", metadata, automountServiceAccountToken: false },
    // Empty: the first operator takes it at once. Where it is missing, the one that makes it must wait for a former holder.
    { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata },
    ...rights(namespace),
    ...userRoles(),
    {
      apiVersion: "v1",
      kind: "Service",
      metadata,
      spec: {
        selector: labels,
        ports: [{ name: "progress", port: PROGRESS_PORT, targetPort: "progress" }],
      },
    },
    deployment(installation),
  ];
}

/** What the operator may do: in all namespaces, and in its own. */
function rights(namespace: string): InstallObject[] {
  const rbac = "rbac.authorization.k8s.io/v1";
  const subjects = [{ kind: "ServiceAccount", name: OPERATOR_NAME, namespace }];
  const roleRef = (kind: string) => ({
    apiGroup: "rbac.authorization.k8s.io",
    kind,
    name: OPERATOR_NAME,
  });
  const wide = { name: OPERATOR_NAME, labels };
  const own = { ...wide, namespace };
  return [
    { apiVersion: rbac, kind: "ClusterRole", metadata: wide, rules: clusterAccess.map(rule) },
    {
      apiVersion: rbac,
      kind: "ClusterRoleBinding",
      metadata: wide,
      roleRef: roleRef("ClusterRole"),
      subjects,
    },
    { apiVersion: rbac, kind: "Role", metadata: own, rules: namespaceAccess.map(rule) },
    { apiVersion: rbac, kind: "RoleBinding", metadata: own, roleRef: roleRef("Role"), subjects },
  ];
}

const rule = ({ apiGroup, resource, verbs, resourceNames }: Access) => ({
  apiGroups: [apiGroup],
  resources: [resource],
  verbs: [...verbs],
  ...(resourceNames === undefined ? {} : { resourceNames: [...resourceNames] }),
});

/** Kubernetes' own roles `view`, `edit` and `admin` learn the kinds that users write. */
function userRoles(): InstallObject[] {
  const read = ["get", "list", "watch"];
  const write = ["create", "update", "patch", "delete", "deletecollection"];
  const aggregated = (role: string, names: string[], resources: string[], verbs: string[]) => ({
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRole",
    metadata: {
      name: `deeptrain-${role}`,
      labels: {
        ...labels,
        ...Object.fromEntries(
          names.map((name) => [`rbac.authorization.k8s.io/aggregate-to-${name}`, "true"]),
        ),
      },
    },
    rules: [{ apiGroups: [GROUP], resources, verbs }],
  });
  return [
    aggregated(
      "view",
      ["view", "edit", "admin"],
      ["datasets", "deepmodels", "modelversions"],
      read,
    ),
    aggregated("edit", ["edit", "admin"], ["datasets", "deepmodels"], write),
  ];
}

function deployment(installation: Installation): InstallObject {
  const { namespace } = installation;
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: OPERATOR_NAME, namespace, labels },
    spec: {
      replicas: 1,
      // Two operators at once gain nothing: the second would wait for the Lease.
      strategy: { type: "Recreate" },
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: podSpec(installation) },
    },
  };
}

function podSpec(installation: Installation) {
  return {
    serviceAccountName: OPERATOR_NAME,
    automountServiceAccountToken: true,
    terminationGracePeriodSeconds: 30,
    securityContext: {
      runAsNonRoot: true,
      runAsUser: 65532,
      runAsGroup: 65532,
      seccompProfile: { type: "RuntimeDefault" },
    },
    containers: [
      {
        name: "operator",
        image: installation.operatorImage,
        args: operatorArguments(installation),
        ports: [
          { name: "progress", containerPort: PROGRESS_PORT },
          { name: "health", containerPort: HEALTH_PORT },
        ],
        livenessProbe: {
          httpGet: { path: "/healthz", port: "health" },
          periodSeconds: 10,
          failureThreshold: 6,
        },
        readinessProbe: { httpGet: { path: "/readyz", port: "health" }, periodSeconds: 2 },
        resources: {
          requests: { cpu: "50m", memory: "192Mi" },
          limits: { memory: "512Mi" },
        },
        securityContext: {
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ["ALL"] },
        },
      },
    ],
  };
}

/** The operator's own command line, read by settings.ts. */
export function operatorArguments({
  namespace,
  trainerImage,
  store,
  importMemory,
  denyPrivateSources,
}: Installation): string[] {
  return [
    `--namespace=${namespace}`,
    `--trainer-image=${trainerImage}`,
    `--progress-host=${progressHost(namespace)}`,
    `--store-size=${store.size}`,
    `--store-access-mode=${store.accessMode}`,
    ...(store.storageClassName === undefined
      ? []
      : [`--store-storage-class=${store.storageClassName}`]),
    ...(importMemory === undefined ? [] : [`--import-memory=${importMemory}`]),
    ...(denyPrivateSources ? ["--deny-private-sources"] : []),
  ];
}

const usage = `usage: manifests.ts --operator-image=IMAGE --trainer-image=IMAGE [options]
  --namespace=NAME             namespace of the operator (${DEFAULT_NAMESPACE})
  --operator-image=IMAGE       image of the operator
  --trainer-image=IMAGE        image of the training and import Jobs
  --store-size=QUANTITY        size of a namespace's claim deeptrain-store, where it is not there (100Gi)
  --store-access-mode=MODE     ReadWriteMany (default) or ReadWriteOnce
  --store-storage-class=NAME   its StorageClass (the cluster's default)
  --import-memory=QUANTITY     memory of an import (2Gi)
  --deny-private-sources       refuse datasets at private addresses
Prints the manifests: pipe them into kubectl apply -f -`;

/** Throws an Error whose message names the option that is wrong. */
export function parseInstallation(args: string[]): Installation {
  const { values } = parseArgs({
    args,
    options: {
      namespace: { type: "string", default: DEFAULT_NAMESPACE },
      "operator-image": { type: "string" },
      "trainer-image": { type: "string" },
      "store-size": { type: "string", default: "100Gi" },
      "store-access-mode": { type: "string", default: "ReadWriteMany" },
      "store-storage-class": { type: "string" },
      "import-memory": { type: "string" },
      "deny-private-sources": { type: "boolean", default: false },
    },
  });
  const operatorImage = values["operator-image"];
  const trainerImage = values["trainer-image"];
  const accessMode = values["store-access-mode"];
  if (operatorImage === undefined || trainerImage === undefined) {
    throw new Error("--operator-image and --trainer-image are required");
  }
  if (accessMode !== "ReadWriteMany" && accessMode !== "ReadWriteOnce") {
    throw new Error("--store-access-mode is ReadWriteMany or ReadWriteOnce");
  }
  const storageClassName = values["store-storage-class"];
  const importMemory = values["import-memory"];
  const installation: Installation = {
    namespace: values.namespace,
    operatorImage,
    trainerImage,
    store: {
      size: values["store-size"],
      accessMode,
      ...(storageClassName === undefined ? {} : { storageClassName }),
    },
    ...(importMemory === undefined ? {} : { importMemory }),
    denyPrivateSources: values["deny-private-sources"],
  };
  // What the operator would refuse when it starts is better refused here.
  parseSettings(operatorArguments(installation));
  return installation;
}

function main(args: string[]): void {
  if (args.includes("--help")) {
    console.log(usage);
    return;
  }
  let installation: Installation;
  try {
    installation = parseInstallation(args);
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n\n${usage}`);
    process.exitCode = 2;
    return;
  }
  console.log(
    installObjects(installation)
      .map((object) => stringify(object))
      .join("---\n"),
  );
}

if (import.meta.main) main(process.argv.slice(2));
