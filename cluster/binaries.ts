// The Go programs of the cluster, built once per content of their sources and kept outside the checkout.
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { command } from "./command.ts";
import { cacheFolder } from "./folders.ts";
import { withLock } from "./lock.ts";

/** `kubernetes` is all of Kubernetes and etcd, chosen by its first argument; the others are what their names say. */
export type Binary = "kubernetes" | "registry" | "pause" | "kueue";

/** Built as it is, out of a module of ours that requires it. */
const packages: Partial<Record<Binary, string>> = { kueue: "sigs.k8s.io/kueue/cmd/kueue" };

const buildTimes: Partial<Record<Binary, string>> = {
  kubernetes: "5 to 7 minutes",
  kueue: "2 to 4 minutes",
};

const kubernetesVersion = { full: "v1.37.2", major: "1", minor: "37" };
const versionPackage = "k8s.io/component-base/version";
const linkerFlags = [
  "-s",
  "-w",
  `-X ${versionPackage}.gitVersion=${kubernetesVersion.full}`,
  `-X ${versionPackage}.gitMajor=${kubernetesVersion.major}`,
  `-X ${versionPackage}.gitMinor=${kubernetesVersion.minor}`,
];

/** The path of a program; builds it when no build of these sources is cached (minutes for `kubernetes`, once). */
export async function binary(
  name: Binary,
  say: (line: string) => void = () => {},
): Promise<string> {
  const source = join(import.meta.dirname, name);
  const goVersion = await installedGo();
  const key = await sourceKey(source, goVersion);
  const path = cacheFolder("bin", key, name);
  if (existsSync(path)) return path;
  return withLock(path, async () => {
    if (!existsSync(path)) {
      say(`building ${name} (cold: ${buildTimes[name] ?? "under a minute"}, then cached)`);
      await build(source, path, packages[name] ?? ".");
    }
    return path;
  });
}

async function build(source: string, path: string, program: string): Promise<void> {
  const folder = join(path, "..");
  const temporary = `${path}.${process.pid}`;
  await mkdir(folder, { recursive: true });
  try {
    // -trimpath and no cgo: the same sources give the same bytes, and the result runs in an empty image.
    const flags = [
      "build",
      "-trimpath",
      "-mod=readonly",
      "-buildvcs=false",
      "-ldflags",
      linkerFlags.join(" "),
      "-o",
      temporary,
      program,
    ];
    await command("go", flags, { cwd: source, env: { CGO_ENABLED: "0" } });
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
}

async function installedGo(): Promise<string> {
  try {
    return (
      await command("go", ["env", "GOVERSION", "GOOS", "GOARCH"], { cwd: import.meta.dirname })
    ).trim();
  } catch {
    throw new Error("the cluster is built from Go modules: install Go 1.26 or later");
  }
}

async function sourceKey(folder: string, goVersion: string): Promise<string> {
  const hash = createHash("sha256").update(JSON.stringify([goVersion, linkerFlags]));
  for (const file of (await readdir(folder)).sort()) {
    hash.update(JSON.stringify([file, await readFile(join(folder, file), "utf8")]));
  }
  return hash.digest("hex").slice(0, 20);
}

/** Where the sources of a module lie that one of our programs requires: its manifests are beside its code. */
export async function moduleFolder(name: Binary, module: string): Promise<string> {
  const flags = ["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module];
  return (await command("go", flags, { cwd: join(import.meta.dirname, name) })).trim();
}
