import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type ControlPlane, startControlPlane } from "./controlplane.ts";
import { kubectl } from "./kubectl.ts";
import { processesOf, runningProgram } from "./program.ts";
import { waitUntil } from "./wait.ts";

const run = promisify(execFile);
let root = "";
const started: ControlPlane[] = [];

async function start(name: string): Promise<ControlPlane> {
  const controlPlane = await startControlPlane({ name, dir: join(root, name) });
  started.push(controlPlane);
  return controlPlane;
}

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "deeptrain-cluster-"));
});

afterEach(async () => {
  for (const controlPlane of started.splice(0)) await controlPlane.stop();
});

afterAll(async () => {
  await rm(root, { recursive: true, force: true });
});

describe("a control plane", () => {
  test("keeps its objects apart from those of one beside it", async () => {
    const [one, two] = await Promise.all([start("one"), start("two")]);
    await kubectl(one.kubeconfig, ["create", "namespace", "only-in-one"]);
    expect(await kubectl(one.kubeconfig, ["get", "namespaces", "-o", "name"])).toContain(
      "only-in-one",
    );
    expect(await kubectl(two.kubeconfig, ["get", "namespaces", "-o", "name"])).not.toContain(
      "only-in-one",
    );
  });

  test("knows a user and the groups by certificate, and lets that user do nothing of itself", async () => {
    const controlPlane = await start("users");
    const kubeconfig = await controlPlane.kubeconfigFor("alice/of=acme", ["developers", "on-call"]);
    const review = await kubectl(kubeconfig, [
      "auth",
      "whoami",
      "-o",
      "jsonpath={.status.userInfo}",
    ]);
    expect(JSON.parse(review)).toMatchObject({
      username: "alice/of=acme",
      groups: ["developers", "on-call", "system:authenticated"],
    });
    await expect(kubectl(kubeconfig, ["get", "pods"])).rejects.toThrow("forbidden");
  });

  test("has its objects and its address still after both programs crashed", async () => {
    const controlPlane = await start("crash");
    await kubectl(controlPlane.kubeconfig, ["create", "namespace", "kept"]);
    await controlPlane.kill("kube-apiserver");
    await controlPlane.kill("etcd");
    await expect(kubectl(controlPlane.kubeconfig, ["get", "namespaces"])).rejects.toThrow();
    await controlPlane.start("etcd");
    await controlPlane.start("kube-apiserver");
    await controlPlane.ready();
    expect(await kubectl(controlPlane.kubeconfig, ["get", "namespaces", "-o", "name"])).toContain(
      "kept",
    );
  });

  test("is ready within seconds of the next start after etcd alone was killed", async () => {
    const options = { name: "etcd-away", dir: join(root, "etcd-away"), daemon: true };
    const controlPlane = await startControlPlane(options);
    started.push(controlPlane);
    await kubectl(controlPlane.kubeconfig, ["create", "namespace", "kept"]);
    const before = await runningProgram(controlPlane.folder, "kube-apiserver");
    await controlPlane.kill("etcd");
    const isUnready = async () =>
      !(await kubectl(controlPlane.kubeconfig, ["get", "--raw", "/readyz"]).then(
        () => true,
        () => false,
      ));
    await waitUntil(isUnready, { what: "an API server without etcd", timeoutMs: 60_000 });
    const startedAt = performance.now();
    const again = await startControlPlane(options);
    expect(performance.now() - startedAt).toBeLessThan(30_000);
    expect(await kubectl(again.kubeconfig, ["get", "namespaces", "-o", "name"])).toContain("kept");
    expect(again.url).toBe(controlPlane.url);
    // A new one: the longer etcd was away, the longer the old one would wait before it asks again.
    expect(await runningProgram(controlPlane.folder, "kube-apiserver")).not.toBe(before);
  });

  test("leaves neither a process nor a file when it is stopped", async () => {
    const controlPlane = await start("stopped");
    expect(await processesOf(controlPlane.folder)).not.toEqual([]);
    await controlPlane.stop();
    expect(await processesOf(controlPlane.folder)).toEqual([]);
    expect(existsSync(controlPlane.folder)).toBe(false);
  });

  test("dies with the process that started it, and the next start finds a clean ground", async () => {
    const folder = join(root, "orphan");
    const module = join(import.meta.dirname, "controlplane.ts");
    const script = `
      const { startControlPlane } = await import(${JSON.stringify(module)});
      await startControlPlane({ name: "orphan", dir: ${JSON.stringify(folder)} });
      process.kill(process.pid, "SIGKILL");`;
    await expect(
      run(process.execPath, ["--input-type=module", "-e", script]),
    ).rejects.toMatchObject({ signal: "SIGKILL" });
    await waitUntil(async () => (await processesOf(folder)).length === 0, {
      what: "the end of the orphans",
      timeoutMs: 5000,
    });
    const controlPlane = await start("orphan");
    expect(await kubectl(controlPlane.kubeconfig, ["get", "namespaces", "-o", "name"])).toContain(
      "default",
    );
  });
});
