import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Cluster, startCluster } from "./cluster.ts";
import { command, succeeds } from "./command.ts";
import { egressProgram } from "./egress.ts";
import { clusterFolder } from "./folders.ts";
import { baseImage, buildImage } from "./images.ts";
import { kubectl } from "./kubectl.ts";
import { runningProgram } from "./program.ts";
import { waitUntil } from "./wait.ts";

const name = "egress-test";
// For documentation, RFC 5737: nobody's. It stands for a server elsewhere and is on this machine's loopback meanwhile.
const elsewhere = "198.51.100.7";
let cluster: Cluster;
let image = "";

beforeAll(async () => {
  const context = await mkdtemp(join(tmpdir(), "deeptrain-image-"));
  try {
    await writeFile(join(context, "Dockerfile"), "ARG BASE\nFROM $BASE\nUSER 65532:65532\n");
    const buildArgs = { BASE: await baseImage("python") };
    image = await buildImage({ name: "deeptrain/test", context, buildArgs });
  } finally {
    await rm(context, { recursive: true });
  }
  await command("ip", ["address", "replace", `${elsewhere}/32`, "dev", "lo"]);
  cluster = await startCluster({ name, egress: true });
});

afterAll(async () => {
  await cluster?.stop();
  await succeeds("ip", ["address", "del", `${elsewhere}/32`, "dev", "lo"]);
});

test("a pod reaches a server elsewhere, to which it is this machine, and this machine's loopback it does not", async () => {
  const seen: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    seen.push(request.socket.remoteAddress);
    response.end("from elsewhere");
  });
  await new Promise<void>((resolve) => server.listen(0, resolve));
  const bound = server.address();
  const port = typeof bound === "object" ? bound?.port : undefined;
  try {
    const script = `
import urllib.request as u
print(u.urlopen('http://${elsewhere}:${port}/', timeout=10).read().decode())
try: print(u.urlopen('http://${cluster.network.egress.gateway}:${port}/', timeout=3).read().decode())
except OSError: print('refused')`;
    const run = (...args: string[]) => kubectl(cluster.kubeconfig, args);
    await run(
      "run",
      "out",
      `--image=${image}`,
      "--restart=Never",
      "--command",
      "--",
      "python3",
      "-c",
      script,
    );
    const hasEnded = async () =>
      ["Succeeded", "Failed"].includes(
        await run("get", "pod", "out", "-o", "jsonpath={.status.phase}"),
      );
    await waitUntil(hasEnded, { what: "the end of the pod", timeoutMs: 60_000, everyMs: 200 });
    const output = await run("logs", "out");
    expect(output.trim().split("\n")).toEqual(["from elsewhere", "refused"]);
    expect(seen).toHaveLength(1);
    expect(seen[0]).not.toContain(`10.${cluster.network.slot}.`);
  } finally {
    server.close();
  }
});

test("the way out ends with the cluster", async () => {
  const pid = await runningProgram(clusterFolder(name), egressProgram);
  expect(pid).toBeDefined();
  await cluster.stop();
  expect(await succeeds("kill", ["-0", String(pid)])).toBe(false);
});
