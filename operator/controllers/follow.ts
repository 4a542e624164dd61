// Which keys a change of an object concerns: the secondary watches of the three controllers.

import { canonicalJson } from "../../api/canonical.ts";
import type { Dataset } from "../../api/dataset.ts";
import type { DeepModel } from "../../api/deepmodel.ts";
import { label } from "../../api/group.ts";
import type { ModelVersion } from "../../api/modelversion.ts";
import type { Change, Stored } from "../runtime/cache.ts";
import type { Caches } from "./kinds.ts";

const either = <T>({ before, after }: Change<T>): T[] =>
  [before, after].filter((object) => object !== undefined);

/** The owners of this kind, in the object's namespace. */
export const ownersOf =
  (kind: string) =>
  <T extends Stored>(change: Change<T>): string[] => [
    ...new Set(
      either(change).flatMap(({ metadata }) =>
        (metadata.ownerReferences ?? [])
          .filter((owner) => owner.kind === kind)
          .map(({ name }) => `${metadata.namespace}/${name}`),
      ),
    ),
  ];

/** The object that a pod's label names. */
export const labelled =
  (name: string) =>
  <T extends Stored>(change: Change<T>): string[] => [
    ...new Set(
      either(change).flatMap(({ metadata }) => {
        const value = metadata.labels?.[name];
        return value === undefined ? [] : [`${metadata.namespace}/${value}`];
      }),
    ),
  ];

/** The DeepModels that refer to a Dataset, when it changes in what they read of it. */
export const modelsOfDataset =
  ({ models }: Caches) =>
  (change: Change<Dataset>): string[] =>
    isSame(change, readOfDataset) ? [] : keysOf(models.by("dataset", change.key));

const readOfDataset = ({ metadata, status }: Dataset): unknown => [
  metadata.uid,
  metadata.generation,
  metadata.deletionTimestamp ?? null,
  status?.observedGeneration ?? null,
  status?.conditions ?? null,
  status?.data?.digest ?? null,
  status?.data?.splitDigest ?? null,
];

/** The DeepModels that begin with a DeepModel, and those that begin with them, when it changes in what they read of it. */
export const modelsOnModel =
  ({ models }: Caches) =>
  (change: Change<DeepModel>): string[] =>
    isSame(change, readOfBase) ? [] : basedOn(models, change.key);

const basedOn = (models: Caches["models"], key: string): string[] => {
  const found = new Set<string>();
  const open = [key];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    for (const each of keysOf(models.by("base", next))) {
      if (found.has(each)) continue;
      found.add(each);
      open.push(each);
    }
  }
  return [...found];
};

const readOfBase = ({ metadata, spec, status }: DeepModel): unknown => [
  metadata.uid,
  metadata.generation ?? null,
  metadata.deletionTimestamp ?? null,
  spec.template,
  spec.base ?? null,
  status?.observedGeneration ?? null,
  status?.readyVersion ?? null,
  // Their messages tell progress.
  (status?.conditions ?? []).map(({ type, status: is, reason }) => [type, is, reason]),
];

/** The DeepModels that begin with a model one of whose versions is complete now, or is gone. */
export const modelsOnVersion =
  ({ models }: Caches) =>
  (change: Change<ModelVersion>): string[] =>
    isSame(change, ({ status }) => status?.artifact?.digest ?? null)
      ? []
      : either(change).flatMap(({ metadata, spec }) =>
          keysOf(models.by("base", `${metadata.namespace}/${spec.model.name}`)),
        );

/** The versions of a DeepModel, when it changes in what they read of it: not at each progress of its status. */
export const versionsOfModel =
  ({ versions }: Caches) =>
  (change: Change<DeepModel>): string[] =>
    isSame(change, readOfModel)
      ? []
      : either(change).flatMap(({ metadata }) => keysOf(versions.ownedBy(metadata)));

const readOfModel = ({ metadata, spec, status }: DeepModel): unknown => [
  metadata.uid,
  metadata.annotations ?? null,
  spec,
  status?.wantedVersion ?? null,
  status?.wantedSince ?? null,
  status?.lastHandledRetry ?? null,
];

/** The other versions of the same DeepModel wait until a Job or pod of this one has ended. */
export const siblings =
  ({ versions }: Caches) =>
  <T extends Stored>(change: Change<T>): string[] => {
    const keys = labelled(label.version)(change);
    return keys.flatMap((key) => {
      const version = versions.get(key);
      return version === undefined ? [key] : versionsOf(versions, version);
    });
  };

const versionsOf = (versions: Caches["versions"], version: ModelVersion): string[] =>
  keysOf(versions.ownedBy({ namespace: version.metadata.namespace, uid: version.spec.model.uid }));

const keysOf = (objects: readonly Stored[]): string[] =>
  objects.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);

const isSame = <T>({ before, after }: Change<T>, read: (object: T) => unknown): boolean =>
  before !== undefined &&
  after !== undefined &&
  canonicalJson(read(before)) === canonicalJson(read(after));
