// The node's container runtime: its configuration and the one image that must be there before any pod.
import { createHash } from "node:crypto";
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { binary } from "./binaries.ts";
import { command } from "./command.ts";
import { inNamespace } from "./namespace.ts";
import type { Network } from "./network.ts";
import { registryName, registryPort } from "./registry.ts";

/** Below /run, which is the node's own (namespace.ts). */
export const containerdSocket = "/run/containerd/containerd.sock";

const pauseImage = `${registryName}/pause:1`;

/** Writes the configuration and gives back the command line. */
export async function containerdCommand(folder: string, network: Network): Promise<string[]> {
  const config = join(folder, "containerd.toml");
  await Promise.all([writeFile(config, configuration(folder)), writeMirrors(folder, network)]);
  return ["containerd", "--config", config];
}

/** Loads the pause image. */
export async function importPauseImage(folder: string, pid: number): Promise<void> {
  const archive = join(folder, "pause.tar");
  await writePauseImage(folder, archive);
  const [file = "", ...args] = inNamespace(pid, [
    "ctr",
    "--address",
    containerdSocket,
    "-n",
    "k8s.io",
    "images",
    "import",
    archive,
  ]);
  await command(file, args);
}

/** Says whether the runtime answers. */
export async function containerdAnswers(pid: number): Promise<boolean> {
  const [file = "", ...args] = inNamespace(pid, [
    "ctr",
    "--address",
    containerdSocket,
    "--connect-timeout",
    "1s",
    "version",
  ]);
  await command(file, args);
  return true;
}

function configuration(folder: string): string {
  const cri = 'plugins."io.containerd.grpc.v1.cri"';
  return `version = 2
root = "${folder}/containerd"
state = "/run/containerd"
[grpc]
  address = "${containerdSocket}"
[${cri}]
  sandbox_image = "${pauseImage}"
  # Without CAP_SYS_RESOURCE (in a container, in some VMs) no pod could be given the score the kubelet asks for.
  restrict_oom_score_adj = true
  [${cri}.cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "${folder}/cni.d"
  [${cri}.registry]
    config_path = "${folder}/mirrors"
  [${cri}.containerd]
    # Compressed layers lie in the registry beside it.
    discard_unpacked_layers = true
  [${cri}.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [${cri}.containerd.runtimes.runc.options]
      SystemdCgroup = false
`;
}

async function writeMirrors(folder: string, { hostAddress }: Network): Promise<void> {
  const address = `${hostAddress}:${registryPort}`;
  const hosts = `server = "http://${address}"\n[host."http://${address}"]\n  capabilities = ["pull", "resolve"]\n`;
  for (const name of [registryName, address]) {
    await mkdir(join(folder, "mirrors", name), { recursive: true });
    await writeFile(join(folder, "mirrors", name, "hosts.toml"), hosts);
  }
}

// The format of `docker save`: a layer, its configuration, and a list that names both.
async function writePauseImage(folder: string, archive: string): Promise<void> {
  const work = join(folder, "pause");
  await mkdir(work, { recursive: true });
  await copyFile(await binary("pause"), join(work, "pause"));
  await command("tar", [
    "-C",
    work,
    "--owner=0",
    "--group=0",
    "--mtime=@0",
    "-cf",
    join(work, "layer.tar"),
    "pause",
  ]);
  const layer = createHash("sha256")
    .update(await readFile(join(work, "layer.tar")))
    .digest("hex");
  const architecture = process.arch === "arm64" ? "arm64" : "amd64";
  const image = {
    architecture,
    os: "linux",
    config: { Entrypoint: ["/pause"] },
    rootfs: { type: "layers", diff_ids: [`sha256:${layer}`] },
  };
  await writeFile(join(work, "config.json"), JSON.stringify(image));
  const manifest = [{ Config: "config.json", RepoTags: [pauseImage], Layers: ["layer.tar"] }];
  await writeFile(join(work, "manifest.json"), JSON.stringify(manifest));
  await command("tar", ["-C", work, "-cf", archive, "manifest.json", "config.json", "layer.tar"]);
  await rm(work, { recursive: true });
}
