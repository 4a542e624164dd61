// Installs Deeptrain into a cluster: CRDs, then the operator, until it is ready.

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { type Installation, installObjects, OPERATOR_NAME } from "../operator/manifests.ts";
import type { Client } from "../operator/runtime/client.ts";
import { type Resource, resource } from "../operator/runtime/resource.ts";
import { applyObjects, readManifests } from "./apply.ts";

const root = join(import.meta.dirname, "..");
const crdResource = resource(
  "apiextensions.k8s.io",
  "v1",
  "CustomResourceDefinition",
  "customresourcedefinitions",
  false,
);
const deploymentResource = resource("apps", "v1", "Deployment", "deployments");

export async function installCrds(client: Client): Promise<void> {
  const files = (await readdir(join(root, "crds"))).filter((file) => file !== "kustomization.yaml");
  for (const file of files.sort()) {
    const crds = await readManifests(join(root, "crds", file));
    await applyObjects(client, crds);
    for (const { metadata } of crds) {
      const name = { namespace: "", name: metadata.name };
      await untilCondition(client, crdResource, name, "Established", 60_000);
    }
  }
}

/** Resolves when the operator of exactly this installation is ready. */
export async function install(client: Client, installation: Installation): Promise<void> {
  await installCrds(client);
  await applyObjects(client, installObjects(installation));
  await untilRolledOut(client, installation.namespace);
}

const Conditions = z.looseObject({
  status: z
    .looseObject({
      conditions: z.array(z.looseObject({ type: z.string(), status: z.string() })).nullish(),
    })
    .optional(),
});

async function untilCondition(
  client: Client,
  of: Resource,
  name: { namespace: string; name: string },
  type: string,
  timeoutMs: number,
): Promise<void> {
  await until(`${of.kind} ${name.name} is ${type}`, timeoutMs, async () => {
    const { status } = Conditions.parse((await client.get(of, name)) ?? {});
    return status?.conditions?.some((c) => c.type === type && c.status === "True") ?? false;
  });
}

const Rollout = z.looseObject({
  metadata: z.looseObject({ generation: z.number() }),
  status: z
    .looseObject({
      observedGeneration: z.number().optional(),
      replicas: z.number().optional(),
      updatedReplicas: z.number().optional(),
      readyReplicas: z.number().optional(),
    })
    .optional(),
});

async function untilRolledOut(client: Client, namespace: string): Promise<void> {
  await until("the operator is ready", 300_000, async () => {
    const object = await client.get(deploymentResource, { namespace, name: OPERATOR_NAME });
    const { metadata, status } = Rollout.parse(object);
    return (
      status?.observedGeneration === metadata.generation &&
      status.replicas === 1 &&
      status.updatedReplicas === 1 &&
      status.readyReplicas === 1
    );
  });
}

/** Asks four times a second until the answer is yes. Throws with `what` when the time is up. */
export async function until(
  what: string,
  timeoutMs: number,
  ask: () => Promise<boolean>,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await ask())) {
    if (performance.now() > deadline) {
      throw new Error(`waited ${timeoutMs / 1000} s in vain until ${what}`);
    }
    await sleep(250);
  }
}
