// The demo on a cluster that is given by KUBECONFIG and IMAGE_REGISTRY: the image gets there, and a pod runs it.

import { expect, test } from "vitest";
import { waitUntil } from "../../cluster/wait.ts";
import { operatorImage } from "../../demo/images.ts";
import { chooseTarget } from "../../demo/target.ts";
import { environment } from "./environment.ts";

test("an image pushed to the given registry runs on the given cluster", async () => {
  const env = await environment();
  const registry = `${env.cluster.registry}/team`;
  const choice = await chooseTarget(
    // No docker or podman that this machine may have: what the demo brings along builds and pushes.
    { KUBECONFIG: env.cluster.kubeconfig, IMAGE_REGISTRY: registry, PATH: "/nonexistent" },
    () => {},
  );
  const target = await choice.open();
  expect(target).toMatchObject({ isLocal: false, kubeconfig: env.cluster.kubeconfig });
  const image = await operatorImage(target);
  expect(image.startsWith(`${registry}/deeptrain/operator@sha256:`)).toBe(true);

  const namespace = await env.namespace("given");
  const run = ["run", "usage", `--image=${image}`, "--restart=Never", "--", "--help"];
  await env.kubectl("-n", namespace, ...run);
  const hasEnded = async () =>
    (await env.kubectl(
      "-n",
      namespace,
      "get",
      "pod",
      "usage",
      "-o",
      "jsonpath={.status.phase}",
    )) === "Succeeded";
  await waitUntil(hasEnded, {
    what: "the pod of the pushed image",
    timeoutMs: 60_000,
    everyMs: 500,
  });
  expect(await env.kubectl("-n", namespace, "logs", "usage")).toContain("--store-size");
});
