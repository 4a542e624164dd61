// The node's storage: folders offered as `local` volumes, which unlike hostPath honour fsGroup.
import { chmod, mkdir } from "node:fs/promises";
import { join } from "node:path";

/** The default storage class. */
export const storageClass = "local";

const volumeCount = 48;

/** Makes the folders of the volumes and gives back the objects that offer them. */
export async function localVolumes(folder: string, nodeName: string): Promise<object[]> {
  const names = Array.from(
    { length: volumeCount },
    (_, index) => `local-${String(index).padStart(2, "0")}`,
  );
  const paths = names.map((name) => join(folder, "volumes", name));
  for (const path of paths) {
    await mkdir(path, { recursive: true });
    await chmod(path, 0o777); // pods without fsGroup can write too, as on a cluster with a provisioner
  }
  return [
    storageClassManifest,
    ...names.map((name, index) => persistentVolume(name, paths[index] ?? "", nodeName)),
  ];
}

const storageClassManifest = {
  apiVersion: "storage.k8s.io/v1",
  kind: "StorageClass",
  metadata: {
    name: storageClass,
    annotations: { "storageclass.kubernetes.io/is-default-class": "true" },
  },
  provisioner: "kubernetes.io/no-provisioner",
  volumeBindingMode: "WaitForFirstConsumer",
  reclaimPolicy: "Retain",
};

function persistentVolume(name: string, path: string, nodeName: string): object {
  const onNode = { key: "kubernetes.io/hostname", operator: "In", values: [nodeName] };
  return {
    apiVersion: "v1",
    kind: "PersistentVolume",
    metadata: { name },
    spec: {
      capacity: { storage: "1Ti" }, // no quota is behind it: large enough for any claim
      accessModes: ["ReadWriteOnce", "ReadWriteMany"],
      persistentVolumeReclaimPolicy: "Retain",
      storageClassName: storageClass,
      local: { path },
      nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions: [onNode] }] } },
    },
  };
}
