// How images get into a cluster that runs inside this machine's container engine, without a registry.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { command, succeeds } from "../cluster/command.ts";
import { Unsuitable } from "./unsuitable.ts";

/** `save` writes the image to a file as `docker save` does, which docker and podman both can. */
export type Loader = (reference: string, save: (file: string) => Promise<unknown>) => Promise<void>;

type Arguments = (file: string) => string[];

/** The loader of a kind, k3d or minikube cluster. Throws where the context is of none, or its program is missing. */
export async function loaderFor(context: string, env: NodeJS.ProcessEnv): Promise<Loader> {
  const options = env.PATH === undefined ? {} : { env: { PATH: env.PATH } };
  const loader =
    (program: string, args: Arguments): Loader =>
    (reference, save) =>
      throughFile(reference, save, (file) => command(program, args(file), options));
  const named = (prefix: string) =>
    context.startsWith(prefix) ? context.slice(prefix.length) : undefined;

  const [kind, k3d] = [named("kind-"), named("k3d-")];
  if (kind !== undefined) {
    await need("kind", ["version"]);
    return loader("kind", (file) => ["load", "image-archive", file, "--name", kind]);
  }
  if (k3d !== undefined) {
    await need("k3d", ["version"]);
    return loader("k3d", (file) => ["image", "import", file, "--cluster", k3d]);
  }
  if (context === "minikube") await need("minikube", ["version"]);
  if (context === "minikube" || (await minikubeProfiles()).includes(context)) {
    return loader("minikube", (file) => ["image", "load", file, "--profile", context]);
  }
  throw new Unsuitable(
    `set IMAGE_REGISTRY to a registry where this machine may push and the nodes of ${context} may pull (kind, minikube and k3d need none)`,
  );

  async function need(program: string, args: string[]): Promise<void> {
    if (await succeeds(program, args, options)) return;
    throw new Unsuitable(
      `images get into ${context} by the program ${program}, which is not on the PATH: install it, or set IMAGE_REGISTRY`,
    );
  }

  // A minikube profile may have any name, and its context has the same.
  async function minikubeProfiles(): Promise<string[]> {
    const args = ["profile", "list", "--output", "json"];
    const text = await command("minikube", args, options).catch(() => "{}");
    const { valid } = Profiles.parse(JSON.parse(text));
    return valid.map((profile) => profile.Name);
  }
}

const Profiles = z.object({ valid: z.array(z.object({ Name: z.string() })).default([]) });

async function throughFile(
  reference: string,
  save: (file: string) => Promise<unknown>,
  load: (file: string) => Promise<unknown>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "deeptrain-image-"));
  try {
    const file = join(folder, `${reference.replaceAll(/[/:]/g, "-")}.tar`);
    await save(file);
    await load(file);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
