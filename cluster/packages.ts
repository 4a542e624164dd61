// What the node needs from the distribution, installed when missing.
import { existsSync, rmSync } from "node:fs";
import { chmod, readFile, writeFile } from "node:fs/promises";
import { command, succeeds } from "./command.ts";
import { withLock } from "./lock.ts";

/** A machine on which the cluster cannot run; the message is all a person needs. */
export class UnfitMachine extends Error {}

// Each program, where to look for it, and the package that brings it.
const nodePrograms: Readonly<Record<string, string>> = {
  "/usr/bin/containerd": "containerd",
  "/usr/sbin/runc": "runc",
  "/usr/sbin/nft": "nftables",
  "/usr/sbin/iptables": "iptables",
  "/usr/lib/cni/bridge": "containernetworking-plugins",
  "/usr/sbin/ip": "iproute2",
  "/usr/bin/mount": "mount",
  "/usr/bin/openssl": "openssl",
};

const egressPrograms: Readonly<Record<string, string>> = {
  "/usr/bin/slirp4netns": "slirp4netns",
};

const imagePrograms: Readonly<Record<string, string>> = {
  "/usr/bin/buildah": "buildah",
  "/usr/sbin/debootstrap": "debootstrap",
  "/etc/ssl/certs/ca-certificates.crt": "ca-certificates",
};

/** Throws UnfitMachine elsewhere. */
export function requireLinux(purpose: string): void {
  if (process.platform !== "linux")
    throw new UnfitMachine(`${purpose}: needs Linux, this is ${process.platform}`);
}

/** Throws UnfitMachine for another user. */
export function requireRoot(purpose: string): void {
  if (process.getuid?.() !== 0)
    throw new UnfitMachine(
      `${purpose}: needs root (namespaces, mounts, cgroups); run it with sudo`,
    );
}

/** Makes sure that this machine can run a node. */
export function installNodePackages(say: (line: string) => void): Promise<void> {
  return install(nodePrograms, "a node", say);
}

/** Makes sure that a node can be given a way out. */
export function installEgressPackages(say: (line: string) => void): Promise<void> {
  return install(egressPrograms, "internet for pods", say);
}

/** Makes sure that this machine can build images. */
export function installImagePackages(say: (line: string) => void): Promise<void> {
  return install(imagePrograms, "image builds", say);
}

async function install(
  programs: Readonly<Record<string, string>>,
  purpose: string,
  say: (line: string) => void,
): Promise<void> {
  requireLinux(purpose);
  requireRoot(purpose);
  await withLock("apt", async () => {
    const missing = Object.entries(programs).filter(([path]) => !existsSync(path));
    if (missing.length === 0) return;
    const packages = missing.map(([, name]) => name);
    if (!existsSync("/usr/bin/apt-get")) {
      throw new UnfitMachine(
        `${purpose}: needs ${missing.map(([path]) => path).join(", ")}, and there is no apt-get to install them`,
      );
    }
    say(`installing ${packages.join(", ")}`);
    await withoutServices(() => aptInstall(packages));
  });
}

async function aptInstall(packages: readonly string[]): Promise<void> {
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  await command("apt-get", ["update", "-qq"], { env });
  await command(
    "apt-get",
    [
      "install",
      "-o",
      "DPkg::Lock::Timeout=300",
      "-y",
      "-qq",
      "--no-install-recommends",
      ...packages,
    ],
    {
      env,
    },
  );
  // Ours is started by hand, with a root and a socket of its own; the system's would only take memory after the next boot.
  if (packages.includes("containerd"))
    await succeeds("systemctl", ["disable", "--now", "containerd"]);
}

// Debian asks this program before a package starts its service; 101 means no.
const policyFile = "/usr/sbin/policy-rc.d";
const ownPolicy =
  "#!/bin/sh\n# Of a Deeptrain cluster that installs packages; nothing needs it afterwards.\nexit 101\n";

/** Runs `work` while no package starts a service. A policy that is not ours stays; ours goes, also with a signal that ends this process. */
export async function withoutServices(
  work: () => Promise<void>,
  policy = policyFile,
): Promise<void> {
  const isOurs = (await readFile(policy, "utf8").catch(() => ownPolicy)) === ownPolicy;
  if (!isOurs) return work();
  const remove = () => rmSync(policy, { force: true });
  const endings = (["SIGINT", "SIGTERM", "SIGHUP"] as const).map((signal) => {
    const end = () => {
      remove();
      // Nobody listens any more: this time it ends the process, as it would have without us.
      process.kill(process.pid, signal);
    };
    process.once(signal, end);
    return () => process.removeListener(signal, end);
  });
  try {
    await writeFile(policy, ownPolicy);
    await chmod(policy, 0o755);
    await work();
  } finally {
    remove();
    for (const forget of endings) forget();
  }
}
