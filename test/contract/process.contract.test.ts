// The operator's own process against a real API server, with the rights of the installation and no others: what it
// says where the CRDs or rights are missing, that it goes on once they are there, and how it ends.

import { type ChildProcess, spawn } from "node:child_process";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type ControlPlane, startControlPlane } from "../../cluster/controlplane.ts";
import { applyObjects, discover, readManifests } from "../../demo/apply.ts";
import { installObjects } from "../../operator/manifests.ts";
import { Client } from "../../operator/runtime/client.ts";
import { connect, loadConfiguration } from "../../operator/runtime/connection.ts";
import type { Manifest } from "../../operator/runtime/object.ts";
import { eventually } from "../../operator/runtime/testing/eventually.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const NAMESPACE = "deeptrain-system";
const NAME = "deeptrain-operator";

/** A port that nobody listens on at this moment. */
const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });

/** One run of operator/main.ts. */
class OperatorProcess {
  readonly lines: string[] = [];
  readonly ended: Promise<number | null>;
  readonly #child: ChildProcess;
  readonly #healthPort: number;

  private constructor(child: ChildProcess, healthPort: number) {
    this.#child = child;
    this.#healthPort = healthPort;
    this.ended = new Promise((resolve) => child.once("exit", resolve));
    for (const stream of [child.stdout, child.stderr]) {
      if (stream !== null) createInterface(stream).on("line", (line) => this.lines.push(line));
    }
  }

  static async start(kubeconfig: string): Promise<OperatorProcess> {
    const [healthPort, progressPort] = [await freePort(), await freePort()];
    const child = spawn(
      process.execPath,
      [
        `${root}operator/main.ts`,
        `--kubeconfig=${kubeconfig}`,
        "--trainer-image=registry.test/trainer:1",
        "--progress-host=localhost",
        `--progress-port=${progressPort}`,
        `--health-port=${healthPort}`,
      ],
      { stdio: ["ignore", "pipe", "pipe"] },
    );
    return new OperatorProcess(child, healthPort);
  }

  says(...words: string[]): boolean {
    return this.lines.some((line) => words.every((word) => line.includes(word)));
  }

  async ask(path: string): Promise<{ status: number; body: string }> {
    const response = await fetch(`http://127.0.0.1:${this.#healthPort}${path}`);
    return { status: response.status, body: await response.text() };
  }

  async untilLeading(): Promise<void> {
    await eventually(() => this.says("holds the Lease"), 60_000);
  }

  /** Milliseconds from SIGTERM to the end, and the exit code. */
  async terminate(): Promise<{ ms: number; code: number | null }> {
    const from = performance.now();
    this.#child.kill("SIGTERM");
    const code = await this.ended;
    return { ms: performance.now() - from, code };
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill("SIGKILL");
      await this.ended;
    }
  }
}

describe("the operator's process", () => {
  let controlPlane: ControlPlane;
  let client: Client;
  let kubeconfig: string;
  let operator: OperatorProcess | undefined;
  const start = async (): Promise<OperatorProcess> => {
    operator = await OperatorProcess.start(kubeconfig);
    return operator;
  };
  const isRight = ({ kind }: Manifest): boolean => /^(Cluster)?Role(Binding)?$/.test(kind);
  const installation = installObjects({
    namespace: NAMESPACE,
    operatorImage: "registry.test/operator:1",
    trainerImage: "registry.test/trainer:1",
    store: { size: "1Gi", accessMode: "ReadWriteOnce" },
    denyPrivateSources: false,
    importMemory: "2Gi",
  });

  beforeAll(async () => {
    controlPlane = await startControlPlane({ name: "contract-process" });
    client = new Client(await connect(() => loadConfiguration(controlPlane.kubeconfig)), {
      fieldManager: "contract",
    });
    const user = `system:serviceaccount:${NAMESPACE}:${NAME}`;
    kubeconfig = await controlPlane.kubeconfigFor(user, ["system:serviceaccounts"]);
    const wanted = installation.filter(
      (object) => isRight(object) || ["Namespace", "Lease"].includes(object.kind),
    );
    await applyObjects(client, wanted);
  });
  afterEach(() => operator?.kill());
  afterAll(async () => {
    await client?.close();
    await controlPlane?.stop();
  });

  test("without CRDs: says so within five seconds, is alive and not ready, and ends within five at SIGTERM", async () => {
    const process = await start();
    await process.untilLeading();
    const kinds = ["datasets", "deepmodels", "modelversions"];
    const advice = (plural: string) => `apply the CustomResourceDefinition ${plural}.deeptrain.dev`;
    await eventually(
      () =>
        kinds.every((plural) => process.says("a watch failed", '"verb":"list"', advice(plural))),
      5_000,
    );
    // Jobs and pods are listed, whichever list is answered last.
    await eventually(
      async () => !/^(jobs|pods):/m.test((await process.ask("/readyz")).body),
      5_000,
    );
    const { status, body } = await process.ask("/readyz");
    expect(status).toBe(503);
    for (const plural of kinds) expect(body).toContain(advice(plural));
    expect((await process.ask("/healthz")).status).toBe(200);
    const metrics = (await process.ask("/metrics")).body;
    expect(metrics).toMatch(/^cache_objects\{resource="jobs"\} 0$/m);
    expect(metrics).toMatch(/^watch_silent_seconds\{resource="datasets"\} /m);
    const said = process.lines.filter((line) => line.includes("a watch failed")).length;
    expect(said).toBeLessThanOrEqual(6);
    const { ms, code } = await process.terminate();
    expect(code).toBe(0);
    expect(ms).toBeLessThan(5_000);
  });

  test("becomes ready by itself when the CRDs and rights are there, and ends within five seconds", async () => {
    const clusterRole = installation.find(({ kind }) => kind === "ClusterRoleBinding");
    if (clusterRole === undefined) throw new Error("the installation binds no ClusterRole");
    const of = await discover(client, clusterRole);
    const name = { namespace: "", name: clusterRole.metadata.name };
    const uid = (await client.get(of, name))?.metadata.uid ?? "";
    await client.delete(of, name, { uid });
    const process = await start();
    await process.untilLeading();
    await eventually(
      () => process.says("a watch failed", '"resource":"jobs"', "apply the ClusterRole"),
      5_000,
    );
    await applyObjects(client, [clusterRole]);
    for (const plural of ["datasets", "deepmodels", "modelversions"]) {
      await applyObjects(client, await readManifests(`${root}crds/${plural}.yaml`));
    }
    await eventually(async () => (await process.ask("/readyz")).status === 200, 30_000);
    expect(process.says('"msg":"ready"')).toBe(true);
    const { ms, code } = await process.terminate();
    expect(code).toBe(0);
    expect(ms).toBeLessThan(5_000);
    // The Lease was given back: the next one need not wait.
    const next = await start();
    const from = performance.now();
    await eventually(async () => (await next.ask("/readyz")).status === 200, 30_000);
    expect(performance.now() - from).toBeLessThan(10_000);
  });
});
