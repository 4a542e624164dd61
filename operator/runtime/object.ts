// What the runtime reads of any object. The rest of an object is its own parser's business.

export interface Owner {
  readonly uid: string;
  readonly kind: string;
  readonly name: string;
  readonly controller?: boolean | undefined;
  readonly blockOwnerDeletion?: boolean | undefined;
}

export interface Metadata {
  readonly name: string;
  readonly namespace?: string | undefined;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly deletionTimestamp?: string | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  readonly ownerReferences?: readonly Owner[] | undefined;
}

/** An object as the API server sends it: its metadata are checked, nothing else is. */
export interface KubeObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: Metadata;
  readonly [field: string]: unknown;
}

/** An object as it is written; the API server fills in the rest. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly [field: string]: unknown;
  };
  readonly [field: string]: unknown;
}

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** True for anything that has the metadata every stored object has. */
export const isKubeObject = (value: unknown): value is KubeObject => {
  if (!isRecord(value) || !isRecord(value.metadata)) return false;
  const { name, namespace, uid, resourceVersion } = value.metadata;
  return (
    typeof name === "string" &&
    name !== "" &&
    typeof uid === "string" &&
    typeof resourceVersion === "string" &&
    (namespace === undefined || typeof namespace === "string")
  );
};

/**
 * -1, 0 or 1. Resource versions of one resource are decimal numbers of any length that grow with every write
 * (Kubernetes 1.35, KEP-5504).
 */
export const compareVersions = (a: string, b: string): number => {
  if (a.length !== b.length) return a.length < b.length ? -1 : 1;
  return a === b ? 0 : a < b ? -1 : 1;
};

/** Freezes an object and everything in it, so that nobody can change what a cache holds. */
export const deepFreeze = <T>(value: T): T => {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  for (const part of Object.values(value)) deepFreeze(part);
  return Object.freeze(value);
};

const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration";

/** The object without what no controller reads and every object carries: field ownership, kubectl's own copy. */
export const withoutBookkeeping = (object: KubeObject): KubeObject => {
  const metadata: Record<string, unknown> = { ...object.metadata };
  delete metadata.managedFields;
  const { annotations } = object.metadata;
  if (annotations !== undefined && LAST_APPLIED in annotations) {
    const kept: Record<string, string> = { ...annotations };
    delete kept[LAST_APPLIED];
    metadata.annotations = kept;
  }
  return { ...object, metadata: { ...metadata, ...identity(object.metadata) } };
};

const identity = ({ name, uid, resourceVersion }: Metadata) => ({ name, uid, resourceVersion });
