import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { kubeconfigPath } from "../cluster/cluster.ts";
import { chooseTarget } from "./target.ts";
import { Unsuitable } from "./unsuitable.ts";
import { whatNext } from "./whatnext.ts";

const here = process.arch === "x64" ? "amd64" : process.arch;
const elsewhere = here === "amd64" ? "arm64" : "amd64";

let folder = "";
let server: Server;
let nodes: object[] = [];
let status = 200;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "deeptrain-target-"));
  await mkdir(join(folder, "bin"));
  [nodes, status] = [[node(here)], 200];
  server = createServer((_, response) => {
    response.statusCode = status;
    response.end(JSON.stringify({ items: nodes }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});

afterEach(async () => {
  vi.restoreAllMocks();
  server.close();
  await rm(folder, { recursive: true });
});

const node = (architecture: string, unschedulable = false) => ({
  spec: { unschedulable },
  status: { nodeInfo: { architecture } },
});

function origin(): string {
  const bound = server.address();
  return typeof bound === "object" ? `http://127.0.0.1:${bound?.port}` : "";
}

async function kubeconfig(context: string, more: object = {}): Promise<string> {
  const path = join(folder, `${context || "none"}.yaml`);
  const content = {
    clusters: [
      {
        name: `${context}-cluster`,
        cluster: { server: origin(), "insecure-skip-tls-verify": true },
      },
    ],
    users: [{ name: `${context}-user`, user: {} }],
    contexts: [
      { name: context, context: { cluster: `${context}-cluster`, user: `${context}-user` } },
    ],
    "current-context": context,
    ...more,
  };
  await writeFile(path, JSON.stringify(content));
  return path;
}

/** A program that writes down how it was called, and what it is told to save. */
async function fake(name: string, output = ""): Promise<void> {
  const script = `#!/bin/sh
echo "${name} $*" >> ${folder}/calls
if [ "$1" = save ]; then : > "$3"; fi
echo '${output}'
`;
  await writeFile(join(folder, "bin", name), script);
  await chmod(join(folder, "bin", name), 0o755);
}

/** The calls that changed something, with the folder of the moment left out. */
async function calls(): Promise<string[]> {
  const text = await readFile(join(folder, "calls"), "utf8").catch(() => "");
  return text
    .split("\n")
    .filter((line) => line !== "" && !/ (info|version|profile list.*)$/.test(line))
    .map((line) => line.replaceAll(/\S*deeptrain-image-[^/]+\//g, "TMP/"));
}

const choose = (path: string, registry = "") =>
  chooseTarget({ KUBECONFIG: path, IMAGE_REGISTRY: registry, PATH: join(folder, "bin") }, () => {});

const operator = {
  name: "deeptrain/operator",
  context: "/context",
  base: "node",
  digest: "abc",
} as const;

async function buildOn(path: string, registry = ""): Promise<string> {
  const target = await (await choose(path, registry)).open();
  expect(target.isLocal).toBe(false);
  return target.image(operator);
}

describe("one line says why the demo cannot run", () => {
  async function refusal(path: string, registry = ""): Promise<string> {
    const error: unknown = await choose(path, registry).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    if (!(error instanceof Unsuitable)) throw new Error(`not refused: ${String(error)}`);
    expect(error.message).not.toContain("\n");
    expect(await calls()).toEqual([]);
    return error.message;
  }

  test("here, where there is no root and no other cluster", async () => {
    if (process.getuid !== undefined) vi.spyOn(process, "getuid").mockReturnValue(1000);
    await expect(chooseTarget({}, () => {})).rejects.toThrow("needs Linux and root");
  });

  test("no such file", async () => {
    expect(await refusal("/not/there")).toContain("KUBECONFIG=/not/there: ENOENT");
  });

  test("no current context", async () => {
    const path = await kubeconfig("mine", { "current-context": undefined });
    expect(await refusal(path)).toContain("no current context");
    expect(await refusal(path)).toContain("(mine)");
  });

  test("a context without a cluster", async () => {
    expect(await refusal(await kubeconfig("mine", { clusters: [] }))).toContain(
      "its context mine names no cluster",
    );
  });

  test("neither a registry nor a cluster that images can be loaded into", async () => {
    await fake("docker");
    expect(await refusal(await kubeconfig("mine"))).toContain("set IMAGE_REGISTRY");
  });

  test("a registry with a scheme", async () => {
    expect(await refusal(await kubeconfig("mine"), "https://registry.example.com/")).toContain(
      "leave out https://",
    );
  });

  test.each([
    ["kind-dev", "kind"],
    ["k3d-dev", "k3d"],
    ["minikube", "minikube"],
  ])("%s without its program", async (context, program) => {
    await fake("docker");
    expect(await refusal(await kubeconfig(context))).toContain(
      `the program ${program}, which is not`,
    );
  });

  test("a kind cluster without docker or podman", async () => {
    await fake("kind");
    expect(await refusal(await kubeconfig("kind-dev"))).toContain("built with docker or podman");
  });

  test("a registry, and nothing that builds", async () => {
    if (process.getuid !== undefined) vi.spyOn(process, "getuid").mockReturnValue(1000);
    expect(await refusal(await kubeconfig("mine"), "registry.example.com")).toContain(
      "neither works here",
    );
  });

  test("an API server that is not there", async () => {
    await fake("docker");
    const path = await kubeconfig("mine", {
      clusters: [{ name: "mine-cluster", cluster: { server: "https://127.0.0.1:1" } }],
    });
    expect(await refusal(path, "registry.example.com")).toMatch(
      /^the cluster of context mine does not answer: .*ECONNREFUSED/,
    );
  });

  test("an API server that knows nobody", async () => {
    await fake("docker");
    status = 401;
    expect(await refusal(await kubeconfig("mine"), "registry.example.com")).toContain("HTTP 401");
  });

  test("no node that takes pods", async () => {
    await fake("docker");
    nodes = [node(here, true)];
    expect(await refusal(await kubeconfig("mine"), "registry.example.com")).toContain("no node");
  });

  test("nodes of two architectures", async () => {
    await fake("docker");
    nodes = [node("amd64"), node("arm64")];
    expect(await refusal(await kubeconfig("mine"), "registry.example.com")).toContain(
      "amd64 and arm64",
    );
  });

  test("nodes of another architecture, and no engine that builds for it", async () => {
    nodes = [node(elsewhere)];
    vi.spyOn(process, "platform", "get").mockReturnValue("linux");
    if (process.getuid !== undefined) vi.spyOn(process, "getuid").mockReturnValue(0);
    expect(await refusal(await kubeconfig("mine"), "registry.example.com")).toMatch(
      /needs docker or podman|neither works here/,
    );
  });
});

describe("an image reaches the nodes", () => {
  test.each(["docker", "podman"])("by %s and a registry", async (engine) => {
    await fake(engine);
    const reference = "registry.example.com/team/deeptrain/operator:abc";
    expect(await buildOn(await kubeconfig("mine"), "registry.example.com/team/")).toBe(reference);
    expect(await calls()).toEqual([
      `${engine} build --tag ${reference} /context`,
      `${engine} push ${reference}`,
    ]);
  });

  test("built for the nodes' architecture where it is another one", async () => {
    await fake("docker");
    nodes = [node(elsewhere), node(here, true)];
    await buildOn(await kubeconfig("mine"), "registry.example.com");
    expect((await calls())[0]).toContain(`build --platform linux/${elsewhere} --tag `);
  });

  test.each([
    ["kind-dev", "kind", "kind load image-archive FILE --name dev"],
    ["k3d-dev", "k3d", "k3d image import FILE --cluster dev"],
    ["minikube", "minikube", "minikube image load FILE --profile minikube"],
    ["training", "minikube", "minikube image load FILE --profile training"],
  ])("of %s by %s", async (context, program, loading) => {
    await fake("docker");
    await fake(program, '{"invalid":[],"valid":[{"Name":"training"}]}');
    const reference = "localhost/deeptrain/operator:abc";
    expect(await buildOn(await kubeconfig(context))).toBe(reference);
    const file = "TMP/localhost-deeptrain-operator-abc.tar";
    expect(await calls()).toEqual([
      `docker build --tag ${reference} /context`,
      `docker save --output ${file} ${reference}`,
      loading.replace("FILE", file),
    ]);
  });
});

test("of several kubeconfig files the first that names a context decides", async () => {
  await fake("docker");
  const files = [
    await kubeconfig("silent", { "current-context": undefined }),
    await kubeconfig("chosen"),
    await kubeconfig("other"),
  ];
  const target = await (await choose(files.join(delimiter), "registry.example.com")).open();
  expect(target.description).toContain("chosen");
  expect(target.configuration().getCurrentCluster()?.name).toBe("chosen-cluster");
});

test("the kubeconfig that the demo itself has printed is the one-machine cluster", async () => {
  vi.spyOn(process, "platform", "get").mockReturnValue("linux");
  if (process.getuid !== undefined) vi.spyOn(process, "getuid").mockReturnValue(0);
  // A given cluster would be refused: it has neither a registry nor a loader.
  await expect(choose(kubeconfigPath("demo"))).resolves.toHaveProperty("open");
});

test("what to try next acts on the cluster that was used", () => {
  const local = whatNext({ kubeconfig: "/state/kubeconfig", isLocal: true }, "demo", "clothes");
  expect(local).toContain("export KUBECONFIG=/state/kubeconfig\n");
  expect(local).toContain("npm run cluster:down");
  const given = whatNext({ kubeconfig: "/my configs/a:/b", isLocal: false }, "demo", "clothes");
  expect(given).toContain("export KUBECONFIG='/my configs/a:/b'\n");
  expect(given).not.toContain("npm run");
});
