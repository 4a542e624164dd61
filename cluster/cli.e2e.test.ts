import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { controlPlaneFolder } from "./cluster.ts";
import { command } from "./command.ts";
import { clusterFolder } from "./folders.ts";
import { applyObjects, kubectl } from "./kubectl.ts";
import { startNamespace } from "./namespace.ts";
import { endProcesses, processesOf } from "./program.ts";
import { waitUntil } from "./wait.ts";

const name = "cli-test";
const folder = clusterFolder(name);
const cli = (...args: string[]) =>
  command(process.execPath, [join(import.meta.dirname, "cli.ts"), "--name", name, ...args]);

const restartCount = "jsonpath={.status.phase} {.status.containerStatuses[0].restartCount}";

const pod = (podName: string) => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: podName },
  spec: {
    containers: [
      {
        name: "main",
        image: "registry.deeptrain.internal/pause:1",
        imagePullPolicy: "Never",
      },
    ],
  },
});

afterAll(async () => {
  await cli("down");
});

test("a cluster outlives the command, comes back after a crash of everything, and goes without a trace", async () => {
  await cli("up", "--no-egress");
  const kubeconfig = (await cli("kubeconfig")).trim();
  await applyObjects(kubeconfig, [pod("steady")]);
  await kubectl(kubeconfig, ["wait", "--for=condition=Ready", "pod/steady", "--timeout=60s"]);

  const before = await cli("status");
  await cli("up", "--no-egress");
  expect(await cli("status")).toBe(before); // what ran runs on

  // The control plane alone crashes: the node's programs find the next one where the first was.
  await endProcesses(await processesOf(controlPlaneFolder(name)), "SIGKILL", 5000);
  await cli("up", "--no-egress");
  await applyObjects(kubeconfig, [pod("after")]);
  await kubectl(kubeconfig, ["wait", "--for=condition=Ready", "pod/after", "--timeout=60s"]);

  await endProcesses(await processesOf(folder), "SIGKILL", 5000);
  await expect(cli("status")).rejects.toThrow("not running");
  await cli("up", "--no-egress");
  const isBack = async () =>
    (await kubectl(kubeconfig, ["get", "pod", "steady", "-o", restartCount])) === "Running 1";
  await waitUntil(isBack, { what: "the pod after the crash", timeoutMs: 60_000, everyMs: 500 });
  // Pods find the API server where it is now.
  const slice = ["get", "endpointslice", "kubernetes", "-o", "jsonpath={.ports[0].port}"];
  expect(await readFile(kubeconfig, "utf8")).toContain(`:${await kubectl(kubeconfig, slice)}"`);

  await cli("down");
  expect(await processesOf(folder)).toEqual([]);
  expect(existsSync(folder)).toBe(false);
  expect(await readFile("/proc/mounts", "utf8")).not.toContain(folder);
});

test("a start that was cut short before the node had its link is begun anew by the next", async () => {
  await startNamespace(folder, true);
  await cli("up", "--no-egress");
  await cli("down");
  expect(await processesOf(folder)).toEqual([]);
});

test("a cluster with a node dies with the process that started it, pods included", async () => {
  const script = `
    const { startCluster } = await import(${JSON.stringify(join(import.meta.dirname, "cluster.ts"))});
    const { kubectl } = await import(${JSON.stringify(join(import.meta.dirname, "kubectl.ts"))});
    const { kubeconfig } = await startCluster({ name: ${JSON.stringify(name)} });
    await kubectl(kubeconfig, ["run", "p", "--image=registry.deeptrain.internal/pause:1", "--image-pull-policy=Never"]);
    await kubectl(kubeconfig, ["wait", "--for=condition=Ready", "pod/p", "--timeout=60s"]);
    process.kill(process.pid, "SIGKILL");`;
  await expect(command(process.execPath, ["--input-type=module", "-e", script])).rejects.toThrow(
    "SIGKILL",
  );
  const isEmpty = async () =>
    (await processesOf(folder)).length === 0 && (await podProcesses()) === "";
  await waitUntil(isEmpty, { what: "the end of the orphans", timeoutMs: 10_000 });
});

// Pods have an environment of their own; what tells them is their control group.
async function podProcesses(): Promise<string> {
  return command("sh", [
    "-c",
    `find /sys/fs/cgroup -path '*/deeptrain-${name}/*' -name cgroup.procs -exec cat {} +`,
  ]);
}
