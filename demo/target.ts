// The cluster that the demo runs on: the one of $KUBECONFIG where it is set, else the one-machine cluster of cluster/.
// Says in one line, before anything is changed, why it cannot be.

import { basename } from "node:path";
import { KubeConfig } from "@kubernetes/client-node";
import { startCluster } from "../cluster/cluster.ts";
import { command, succeeds } from "../cluster/command.ts";
import { baseImage, buildImage } from "../cluster/images.ts";
import { withLock } from "../cluster/lock.ts";

export interface ImageRequest {
  /** For example `deeptrain/trainer`. */
  name: string;
  /** Folder with the Dockerfile and all that it copies. */
  context: string;
  base: "python" | "node";
  /** Names the content where the images are tagged: changes whenever the content does. */
  digest: string;
}

export interface Target {
  /** For the user: which cluster it is. */
  description: string;
  kubeconfig: string;
  /** Builds an image and puts it where the nodes find it; resolves to its name for pods. */
  image(request: ImageRequest): Promise<string>;
}

type Say = (line: string) => void;

/** Why the demo cannot run here; its message is one line for the user. */
export class Unsuitable extends Error {}

/** Starts nothing yet: `open` of what it returns does. */
export async function chooseTarget(
  env: NodeJS.ProcessEnv,
  say: Say,
): Promise<{ open(): Promise<Target> }> {
  const kubeconfig = env.KUBECONFIG ?? "";
  if (kubeconfig !== "") return givenTarget(kubeconfig, env.IMAGE_REGISTRY ?? "", say);
  if (process.platform !== "linux" || process.getuid?.() !== 0) {
    throw new Unsuitable(
      "the one-machine cluster needs Linux and root; set KUBECONFIG (and IMAGE_REGISTRY) to use a cluster that you have",
    );
  }
  return { open: () => localTarget(say) };
}

/** Must be the name that `npm run cluster:up` uses. */
const LOCAL_CLUSTER = "demo";

async function localTarget(say: Say): Promise<Target> {
  const { kubeconfig } = await withLock(`cluster ${LOCAL_CLUSTER}`, () =>
    startCluster({ name: LOCAL_CLUSTER, daemon: true, fsync: true, say }),
  );
  return {
    description: "the one-machine cluster",
    kubeconfig,
    image: async ({ name, context, base }) =>
      buildImage({ name, context, buildArgs: { BASE: await baseImage(base, say) }, say }),
  };
}

async function givenTarget(kubeconfig: string, registry: string, say: Say) {
  const config = new KubeConfig();
  try {
    config.loadFromDefault();
  } catch (error) {
    throw new Unsuitable(
      `KUBECONFIG=${kubeconfig}: ${error instanceof Error ? error.message : error}`,
    );
  }
  const context = config.getCurrentContext();
  const engine = await containerEngine();
  const load = registry === "" ? await loaderFor(context) : undefined;
  if (registry === "" && load === undefined) {
    throw new Unsuitable(
      `set IMAGE_REGISTRY to a registry where this machine may push and the nodes of ${context} may pull (kind, minikube and k3d need none)`,
    );
  }
  if (engine === undefined && (load !== undefined || process.getuid?.() !== 0)) {
    throw new Unsuitable(
      "images are built with docker or podman (or as root on Debian): found neither",
    );
  }
  const image = async (request: ImageRequest): Promise<string> => {
    if (engine === undefined) {
      const { name, context: folder, base } = request;
      const buildArgs = { BASE: await baseImage(base, say) };
      return buildImage({ name, context: folder, buildArgs, registry, say });
    }
    const reference = `${registry === "" ? "" : `${registry}/`}${request.name}:${request.digest}`;
    say(`building the image ${reference}`);
    await command(engine, ["build", "--tag", reference, request.context]);
    if (load !== undefined) await load(reference);
    else await command(engine, ["push", reference]);
    return reference;
  };
  return {
    open: async (): Promise<Target> => ({
      description: `the cluster of context ${context}`,
      kubeconfig,
      image,
    }),
  };
}

async function containerEngine(): Promise<"docker" | "podman" | undefined> {
  if (await succeeds("docker", ["info"])) return "docker";
  return (await succeeds("podman", ["info"])) ? "podman" : undefined;
}

/** How an image gets into a cluster that runs inside this machine's container engine. */
async function loaderFor(
  context: string,
): Promise<((reference: string) => Promise<void>) | undefined> {
  const loader =
    (program: string, args: (reference: string) => string[]) => async (ref: string) => {
      await command(program, args(ref));
    };
  if (context.startsWith("kind-") && (await succeeds("kind", ["version"]))) {
    const name = context.slice("kind-".length);
    return loader("kind", (ref) => ["load", "docker-image", ref, "--name", name]);
  }
  if (context.startsWith("k3d-") && (await succeeds("k3d", ["version"]))) {
    const name = context.slice("k3d-".length);
    return loader("k3d", (ref) => ["image", "import", ref, "--cluster", name]);
  }
  if (basename(context) === "minikube" && (await succeeds("minikube", ["version"]))) {
    return loader("minikube", (ref) => ["image", "load", ref]);
  }
  return undefined;
}
