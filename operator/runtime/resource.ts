// A resource: a collection of the API server, and the paths of its requests. No kind is known here by name.

export interface Resource {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  /** Lower-case plural, as in the path. */
  readonly plural: string;
  readonly namespaced: boolean;
}

/** Name of an object inside its resource; `namespace` is empty for cluster-scoped ones. */
export interface ObjectName {
  readonly namespace: string;
  readonly name: string;
}

export const resource = (
  group: string,
  version: string,
  kind: string,
  plural: string,
  namespaced = true,
): Resource => ({ group, version, kind, plural, namespaced });

/** `group/version`, or `version` for the core group. */
export const apiVersion = ({ group, version }: Resource): string =>
  group === "" ? version : `${group}/${version}`;

/** Path of a collection: of one namespace, or of all where `namespace` is empty. */
export const collectionPath = (of: Resource, namespace = ""): string => {
  const root =
    of.group === "" ? `/api/${of.version}` : `/apis/${of.group}/${encodeURIComponent(of.version)}`;
  const inside = of.namespaced && namespace !== "" ? `/namespaces/${segment(namespace)}` : "";
  return `${root}${inside}/${of.plural}`;
};

/** Path of one object, or of its subresource. Throws where a name is missing: the path would be a collection's. */
export const objectPath = (of: Resource, { namespace, name }: ObjectName, sub = ""): string => {
  if (name === "" || (of.namespaced && namespace === "")) {
    throw new Error(`${of.kind} needs a name${of.namespaced ? " and a namespace" : ""}`);
  }
  return `${collectionPath(of, namespace)}/${segment(name)}${sub === "" ? "" : `/${sub}`}`;
};

/** `namespace/name`, or `name` where there is no namespace. */
export const keyOf = ({
  namespace,
  name,
}: {
  namespace?: string | undefined;
  name: string;
}): string => (namespace === undefined || namespace === "" ? name : `${namespace}/${name}`);

export const nameOf = (key: string): ObjectName => {
  const slash = key.indexOf("/");
  return slash < 0
    ? { namespace: "", name: key }
    : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
};

const segment = (name: string): string => {
  if (name === "." || name === "..") throw new Error(`${name} is not a name`);
  return encodeURIComponent(name);
};
