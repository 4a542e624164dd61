// The command line of the cluster. `up` leaves the cluster running; `down` removes every trace of it.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { binary } from "./binaries.ts";
import {
  controlPlaneFolder,
  hasNode,
  kubeconfigPath,
  removeCluster,
  startCluster,
} from "./cluster.ts";
import { startControlPlane } from "./controlplane.ts";
import { clusterFolder, clustersFolder, rootClustersFolder } from "./folders.ts";
import { kubectlEnvironment } from "./kubectl.ts";
import { withLock } from "./lock.ts";
import { readNetwork } from "./network.ts";
import { requireLinux, requireRoot } from "./packages.ts";
import { runningProgram } from "./program.ts";
import { registryPort } from "./registry.ts";

const usage = `usage: node cluster/cli.ts <command> [--name demo]
  up [--no-node]    start the cluster, or what is missing of it, and leave it running
     [--no-egress]  ... without internet for its pods
  kubeconfig        print the path of the administrator's kubeconfig
  status            what runs, and where
  kubectl ...       kubectl of the cluster's own version, as administrator
  down [--all]      remove every trace of the cluster (of all clusters)`;

interface Options {
  readonly name: string;
  readonly node: boolean;
  readonly egress: boolean;
  readonly all: boolean;
  readonly rest: readonly string[];
}

const commands: Readonly<Record<string, (options: Options) => Promise<number>>> = {
  up,
  kubeconfig: async ({ name }) => {
    console.log(existingKubeconfig(name));
    return 0;
  },
  status,
  kubectl: runKubectl,
  down: async ({ name, all }) => {
    for (const each of all ? await clusterNames() : [name]) {
      const isThere = existsSync(clusterFolder(each));
      if (!isThere) refuseIfRoots(each);
      await withLock(`cluster ${each}`, () => removeCluster(each));
      say(isThere ? `cluster ${each} is gone` : `there is no cluster ${each}`);
    }
    return 0;
  },
};

async function up({ name, node, egress }: Options): Promise<number> {
  if (node || hasNode(name)) requireRoot("a node");
  return withLock(`cluster ${name}`, async () => {
    const startedAt = Date.now();
    // A demo is somebody's work: unlike a test's, its data is synced to disk.
    const options = { name, daemon: true, fsync: true, say };
    if (node || hasNode(name)) await startCluster({ ...options, egress });
    else {
      const dir = controlPlaneFolder(name);
      await startControlPlane({ ...options, dir, controllerManager: true, scheduler: true });
    }
    say(`cluster ${name} is ready after ${((Date.now() - startedAt) / 1000).toFixed(1)} s`);
    console.log(`export KUBECONFIG=${kubeconfigPath(name)}`);
    return 0;
  });
}

async function status({ name }: Options): Promise<number> {
  const folders = { "control plane": controlPlaneFolder(name), node: clusterFolder(name) };
  const programs = {
    "control plane": ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"],
    node: ["namespace", "egress", "registry", "containerd", "kubelet", "kube-proxy", "coredns"],
  };
  let running = 0;
  for (const part of ["control plane", "node"] as const) {
    for (const program of programs[part]) {
      const pid = await runningProgram(folders[part], program);
      if (pid !== undefined) running++;
      console.log(`${program.padEnd(24)} ${pid === undefined ? "not running" : `pid ${pid}`}`);
    }
  }
  console.log(
    `kubeconfig ${kubeconfigPath(name)}\nlogs       ${Object.values(folders)
      .map((folder) => join(folder, "log"))
      .join(" ")}`,
  );
  const network = await readNetwork(clusterFolder(name)).catch(() => undefined);
  if (network !== undefined) {
    console.log(`pods       ${network.podCidr}\nservices   ${network.serviceCidr}`);
    console.log(
      `this host  ${network.hostAddress} (as pods see it), registry ${network.hostAddress}:${registryPort}`,
    );
  }
  return running > 0 ? 0 : 1;
}

async function runKubectl({ name, rest }: Options): Promise<number> {
  const env = { ...process.env, ...kubectlEnvironment(existingKubeconfig(name)) };
  const child = spawn(await binary("kubernetes", say), ["kubectl", ...rest], {
    stdio: "inherit",
    env,
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve(code ?? 1));
  });
}

async function clusterNames(): Promise<string[]> {
  return existsSync(clustersFolder()) ? readdir(clustersFolder()) : [];
}

function existingKubeconfig(name: string): string {
  const path = kubeconfigPath(name);
  if (existsSync(path)) return path;
  refuseIfRoots(name);
  throw new Error(`there is no cluster ${name}: start it with "npm run cluster:up"`);
}

/** Root's cluster of that name is another one than this user's, and this user can do nothing with it. */
function refuseIfRoots(name: string): void {
  if (process.getuid?.() !== 0 && existsSync(join(rootClustersFolder, name)))
    throw new Error(`cluster ${name} is root's: run this with sudo`);
}

function say(line: string): void {
  console.error(line);
}

// Everything after `kubectl` is kubectl's.
function parse(argv: readonly string[]): { command: string; options: Options } {
  const at = argv.indexOf("kubectl");
  const own = at === -1 ? argv : argv.slice(0, at + 1);
  const { values, positionals } = parseArgs({
    args: [...own],
    allowPositionals: true,
    allowNegative: true,
    options: {
      name: { type: "string", default: "demo" },
      node: { type: "boolean", default: true },
      egress: { type: "boolean", default: true },
      all: { type: "boolean", default: false },
    },
  });
  const rest = at === -1 ? [] : argv.slice(at + 1);
  return { command: positionals[0] ?? "", options: { ...values, rest } };
}

async function main(): Promise<number> {
  requireLinux("the one-machine cluster");
  const { command, options } = parse(process.argv.slice(2));
  const run = Object.hasOwn(commands, command) ? commands[command] : undefined;
  if (run === undefined) {
    console.error(usage);
    return 2;
  }
  return run(options);
}

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  },
);
