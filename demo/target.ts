// The cluster that the demo runs on: the one of $KUBECONFIG where it is set, else the one-machine cluster of cluster/.
// Says in one line, before anything is changed, why it cannot be.

import { realpathSync } from "node:fs";
import type { KubeConfig } from "@kubernetes/client-node";
import { kubeconfigPath, startCluster } from "../cluster/cluster.ts";
import { baseImage, buildImage } from "../cluster/images.ts";
import { withLock } from "../cluster/lock.ts";
import { loadConfiguration } from "../operator/runtime/connection.ts";
import { givenTarget } from "./given.ts";
import { Unsuitable } from "./unsuitable.ts";

export interface ImageRequest {
  /** For example `deeptrain/trainer`. */
  name: string;
  /** Folder with the Dockerfile and all that it copies. */
  context: string;
  base: "python" | "node";
  /** Names the content where the images are tagged: changes whenever the content does. */
  digest: string;
  /** What it takes unpacked, where that is much. */
  gigabytes?: number;
}

export interface Target {
  /** For the user: which cluster it is. */
  description: string;
  /** As the user would set KUBECONFIG: a path, or several. */
  kubeconfig: string;
  /** Whether it is the one-machine cluster, which `npm run cluster:down` removes. */
  isLocal: boolean;
  configuration(): KubeConfig;
  /** Builds an image and puts it where the nodes find it; resolves to its name for pods. */
  image(request: ImageRequest): Promise<string>;
}

export type Say = (line: string) => void;

/**
 * Starts and changes nothing yet: `open` of what it returns does. Throws Unsuitable where the demo cannot run on the cluster.
 */
export async function chooseTarget(
  env: NodeJS.ProcessEnv,
  say: Say,
): Promise<{ open(): Promise<Target> }> {
  const kubeconfig = env.KUBECONFIG ?? "";
  if (kubeconfig !== "" && !isLocalCluster(kubeconfig)) return givenTarget(kubeconfig, env, say);
  if (process.platform !== "linux" || process.getuid?.() !== 0) {
    throw new Unsuitable(
      "the one-machine cluster needs Linux and root; set KUBECONFIG (and IMAGE_REGISTRY) to use a cluster that you have",
    );
  }
  return { open: () => localTarget(say) };
}

/** Must be the name that `npm run cluster:up` uses. */
const LOCAL_CLUSTER = "demo";

/** The demo itself says `export KUBECONFIG=...` of the cluster that it has started. */
function isLocalCluster(kubeconfig: string): boolean {
  const real = (path: string): string => {
    try {
      return realpathSync(path);
    } catch {
      return path;
    }
  };
  return real(kubeconfig) === real(kubeconfigPath(LOCAL_CLUSTER));
}

async function localTarget(say: Say): Promise<Target> {
  const { kubeconfig } = await withLock(`cluster ${LOCAL_CLUSTER}`, () =>
    startCluster({ name: LOCAL_CLUSTER, daemon: true, fsync: true, egress: true, say }),
  );
  return {
    description: "the one-machine cluster",
    kubeconfig,
    isLocal: true,
    configuration: () => loadConfiguration(kubeconfig),
    image: (request) => clusterImage(request, say),
  };
}

/** An image for the clusters of cluster/, by digest. */
export async function clusterImage(
  { name, context, base, gigabytes }: ImageRequest,
  say: Say,
): Promise<string> {
  const buildArgs = { BASE: await baseImage(base, say) };
  return buildImage({
    ...{ name, context, buildArgs, say },
    ...(gigabytes === undefined ? {} : { gigabytes }),
  });
}
