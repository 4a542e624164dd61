// A cluster that the user has: looked at before anything is built, and given its images by a registry or by its own loader.

import { existsSync } from "node:fs";
import { delimiter } from "node:path";
import type { KubeConfig } from "@kubernetes/client-node";
import { request } from "undici";
import { z } from "zod";
import { command, succeeds } from "../cluster/command.ts";
import { baseImage, buildImage } from "../cluster/images.ts";
import { type Connection, connect, loadConfiguration } from "../operator/runtime/connection.ts";
import { type Loader, loaderFor } from "./loader.ts";
import type { ImageRequest, Say, Target } from "./target.ts";
import { Unsuitable } from "./unsuitable.ts";

/** Programs are looked for on `env.PATH`. */
export async function givenTarget(
  kubeconfig: string,
  env: NodeJS.ProcessEnv,
  say: Say,
): Promise<{ open(): Promise<Target> }> {
  const configuration = () => loadGiven(kubeconfig);
  const context = currentContext(kubeconfig, configuration);
  const registry = registryOf(env);
  const load = registry === "" ? await loaderFor(context, env) : undefined;
  const engine = await containerEngine(env);
  if (engine === undefined && load !== undefined) {
    throw new Unsuitable(
      `images for ${context} are built with docker or podman, and neither of them works here`,
    );
  }
  if (engine === undefined && !canBuildHere()) {
    throw new Unsuitable(
      "images are built with docker or podman (or, without them, as root on Debian): neither works here",
    );
  }
  const platform = await platformOfNodes(context, configuration);
  if (engine === undefined && platform !== undefined) {
    throw new Unsuitable(
      `the nodes of ${context} are ${platform}, and this machine is not: building for them needs docker or podman`,
    );
  }
  const description = `the cluster of context ${context}`;
  const image = (wanted: ImageRequest) =>
    engine === undefined
      ? buildAndPush(wanted, registry, say)
      : buildWith({ engine, platform, registry, load, env, say }, wanted);
  return {
    open: async () => ({ description, kubeconfig, isLocal: false, configuration, image }),
  };
}

/** As kubectl reads a list of files: what an earlier one says stands. */
function loadGiven(kubeconfig: string): KubeConfig {
  const [first = "", ...others] = kubeconfig.split(delimiter).filter((file) => file !== "");
  const configuration = loadConfiguration(first);
  for (const file of others) {
    configuration.mergeConfig(loadConfiguration(file), (configuration.currentContext ?? "") !== "");
  }
  return configuration;
}

function currentContext(kubeconfig: string, load: () => KubeConfig): string {
  let configuration: KubeConfig;
  try {
    configuration = load();
  } catch (error) {
    throw new Unsuitable(`KUBECONFIG=${kubeconfig}: ${firstLine(error)}`);
  }
  const name: string | undefined = configuration.currentContext;
  const names = configuration.contexts.map((context) => context.name);
  if (name === undefined || name === "") {
    throw new Unsuitable(
      `KUBECONFIG=${kubeconfig} has no current context: choose one with kubectl config use-context (${names.join(", ") || "it has none"})`,
    );
  }
  if (configuration.getCurrentCluster() === null) {
    throw new Unsuitable(`KUBECONFIG=${kubeconfig}: its context ${name} names no cluster of it`);
  }
  return name;
}

function registryOf(env: NodeJS.ProcessEnv): string {
  const registry = (env.IMAGE_REGISTRY ?? "").replace(/\/+$/, "");
  if (registry.includes("://")) {
    throw new Unsuitable(
      `IMAGE_REGISTRY=${registry}: leave out ${registry.split("://")[0]}://, as in registry.example.com/team`,
    );
  }
  return registry;
}

async function containerEngine(env: NodeJS.ProcessEnv): Promise<"docker" | "podman" | undefined> {
  for (const engine of ["docker", "podman"] as const) {
    if (await succeeds(engine, ["info"], path(env))) return engine;
  }
  return undefined;
}

function canBuildHere(): boolean {
  return process.platform === "linux" && process.getuid?.() === 0 && existsSync("/usr/bin/apt-get");
}

const NodeList = z.object({
  items: z.array(
    z.object({
      spec: z.object({ unschedulable: z.boolean().optional() }).optional(),
      status: z.object({ nodeInfo: z.object({ architecture: z.string() }) }),
    }),
  ),
});

/** Go's and the container engines' name of this machine's architecture. */
function ownArchitecture(): string {
  return process.arch === "x64" ? "amd64" : process.arch;
}

/** The architecture to build for, where it is another one than this machine's. Throws where the cluster does not answer. */
async function platformOfNodes(
  context: string,
  configuration: () => KubeConfig,
): Promise<string | undefined> {
  let list: z.infer<typeof NodeList>;
  try {
    const connection = await connect(configuration);
    try {
      list = NodeList.parse(await get(connection, "/api/v1/nodes"));
    } finally {
      await connection.close();
    }
  } catch (error) {
    throw new Unsuitable(`the cluster of context ${context} does not answer: ${firstLine(error)}`);
  }
  const usable = list.items.filter((node) => node.spec?.unschedulable !== true);
  const found = [...new Set(usable.map((node) => node.status.nodeInfo.architecture))];
  const [architecture, ...others] = found;
  if (architecture === undefined) {
    throw new Unsuitable(`the cluster of context ${context} has no node that takes pods`);
  }
  if (others.length > 0) {
    throw new Unsuitable(
      `the nodes of ${context} are ${found.join(" and ")}: the demo builds its images for one architecture; cordon the other nodes meanwhile`,
    );
  }
  return architecture === ownArchitecture() ? undefined : `linux/${architecture}`;
}

async function get(connection: Connection, at: string): Promise<unknown> {
  const { statusCode, body } = await request(`${connection.origin}${connection.basePath}${at}`, {
    dispatcher: connection.dispatcher,
    headers: { ...(await connection.headers()) },
    signal: AbortSignal.timeout(15_000),
  });
  const text = await body.text();
  if (statusCode !== 200) throw new Error(`GET ${at}: HTTP ${statusCode}`);
  return JSON.parse(text);
}

async function buildAndPush(wanted: ImageRequest, registry: string, say: Say): Promise<string> {
  const { name, context, base, gigabytes = 0 } = wanted;
  const buildArgs = { BASE: await baseImage(base, say) };
  return buildImage({ name, context, buildArgs, gigabytes, registry, say });
}

interface Engine {
  engine: "docker" | "podman";
  /** Undefined: the engine's own. */
  platform: string | undefined;
  /** Empty where `load` is there. */
  registry: string;
  load: Loader | undefined;
  env: NodeJS.ProcessEnv;
  say: Say;
}

async function buildWith(
  { engine, platform, registry, load, env, say }: Engine,
  { name, context, digest }: ImageRequest,
): Promise<string> {
  // A loaded image says where it is from: podman would add `localhost/`, and a node would look for the rest at Docker's hub.
  const reference = `${registry === "" ? "localhost" : registry}/${name}:${digest}`;
  const run = (...args: string[]) => command(engine, args, path(env));
  say(`building the image ${reference}`);
  const forNodes = platform === undefined ? [] : ["--platform", platform];
  await run("build", ...forNodes, "--tag", reference, context);
  if (load === undefined) await run("push", reference);
  else await load(reference, (file) => run("save", "--output", file, reference));
  return reference;
}

const path = (env: NodeJS.ProcessEnv) =>
  env.PATH === undefined ? {} : { env: { PATH: env.PATH } };

function firstLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  // Several addresses that all refused have no message of their own.
  const first = error instanceof AggregateError ? firstLine(error.errors[0]) : undefined;
  return (message || first || "no reason given").split("\n")[0] ?? "";
}
