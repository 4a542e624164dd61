// The kinds that the controllers read and write, and what is kept of each in memory.

import type { z } from "zod";
import { Dataset, DatasetStatus } from "../../api/dataset.ts";
import { DeepModel, DeepModelStatus } from "../../api/deepmodel.ts";
import { GROUP, label, MANAGED_BY, VERSION } from "../../api/group.ts";
import { ModelVersion, ModelVersionStatus } from "../../api/modelversion.ts";
import { Job, Pod } from "../plan/kubernetes.ts";
import { Cache, type Parsed, type Stored } from "../runtime/cache.ts";
import { isRecord, type KubeObject } from "../runtime/object.ts";
import { resource } from "../runtime/resource.ts";

export const datasets = resource(GROUP, VERSION, "Dataset", "datasets");
export const deepModels = resource(GROUP, VERSION, "DeepModel", "deepmodels");
export const modelVersions = resource(GROUP, VERSION, "ModelVersion", "modelversions");
export const jobs = resource("batch", "v1", "Job", "jobs");
export const pods = resource("", "v1", "Pod", "pods");
export const claims = resource("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims");
export const services = resource("", "v1", "Service", "services");
export const networkPolicies = resource(
  "networking.k8s.io",
  "v1",
  "NetworkPolicy",
  "networkpolicies",
);
/** Kueue's, where it is installed. */
export const workloads = resource("kueue.x-k8s.io", "v1beta2", "Workload", "workloads");
export const coreEvents = resource("", "v1", "Event", "events");

/** An object as its schema reads it; metadata as the API server sent them. */
const strict =
  <T extends Stored>(schema: z.ZodType<T>) =>
  (object: KubeObject): Parsed<T> => {
    const { data, error } = schema.safeParse(object);
    return data === undefined
      ? { ok: false, problem: firstIssue(error) }
      : { ok: true, value: data };
  };

const firstIssue = (error: z.ZodError | undefined): string => {
  const issue = error?.issues[0];
  return issue === undefined ? "unreadable" : `${issue.path.join(".")}: ${issue.message}`;
};

/**
 * A status that another release wrote may hold what this one does not know: fields that cannot be read are left out,
 * and made anew.
 */
const lenient = <T extends Stored>(schema: z.ZodType<T>, status: z.ZodObject) => {
  const read = strict(schema);
  return (object: KubeObject): Parsed<T> => {
    const first = read(object);
    if (first.ok || !isRecord(object.status)) return first;
    const kept = Object.entries(status.shape).flatMap(([name, field]) => {
      const value = isRecord(object.status) ? object.status[name] : undefined;
      return value !== undefined && field.safeParse(value).success ? [[name, value]] : [];
    });
    return read({ ...object, status: Object.fromEntries(kept) });
  };
};

const own = { [label.managedBy]: MANAGED_BY };

/** `namespace/name` of the object that a label names, in the namespace of the object that carries it. */
const labelled =
  (name: string) =>
  ({ metadata }: Stored): string[] =>
    inNamespace(metadata, metadata.labels?.[name]);

const inNamespace = ({ namespace }: Stored["metadata"], name: string | undefined): string[] =>
  name === undefined ? [] : [`${namespace}/${name}`];

export interface Caches {
  datasets: Cache<Dataset>;
  models: Cache<DeepModel>;
  versions: Cache<ModelVersion>;
  jobs: Cache<Job>;
  pods: Cache<Pod>;
}

export const createCaches = (onError: (error: unknown, key: string) => void): Caches => ({
  datasets: new Cache({
    resource: datasets,
    parse: lenient(Dataset, DatasetStatus),
    indexes: { uid: ({ metadata }) => [metadata.uid] },
    onError,
  }),
  models: new Cache({
    resource: deepModels,
    parse: lenient(DeepModel, DeepModelStatus),
    indexes: {
      dataset: ({ metadata, spec }) => [`${metadata.namespace}/${spec.datasetRef.name}`],
      base: ({ metadata, spec }) => inNamespace(metadata, spec.base?.modelRef?.name),
    },
    onError,
  }),
  versions: new Cache({
    resource: modelVersions,
    parse: lenient(ModelVersion, ModelVersionStatus),
    indexes: {
      uid: ({ metadata }) => [metadata.uid],
      base: ({ metadata, spec }) => inNamespace(metadata, spec.base.model?.name),
    },
    onError,
  }),
  jobs: new Cache({ resource: jobs, labels: own, parse: strict(Job), onError }),
  pods: new Cache({
    resource: pods,
    labels: own,
    parse: strict(Pod),
    indexes: { version: labelled(label.version), dataset: labelled(label.dataset) },
    onError,
  }),
});
