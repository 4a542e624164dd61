// What the node needs from the distribution, installed when missing.
import { existsSync } from "node:fs";
import { chmod, rm, writeFile } from "node:fs/promises";
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

const imagePrograms: Readonly<Record<string, string>> = {
  "/usr/bin/buildah": "buildah",
  "/usr/sbin/debootstrap": "debootstrap",
  "/etc/ssl/certs/ca-certificates.crt": "ca-certificates",
};

/** Makes sure that this machine can run a node. */
export function installNodePackages(say: (line: string) => void): Promise<void> {
  return install(nodePrograms, "a node", say);
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
  if (process.platform !== "linux")
    throw new UnfitMachine(`${purpose}: needs Linux, this is ${process.platform}`);
  if (process.getuid?.() !== 0)
    throw new UnfitMachine(
      `${purpose}: needs root (namespaces, mounts, cgroups); run it with sudo`,
    );
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
async function withoutServices(work: () => Promise<void>): Promise<void> {
  const policy = "/usr/sbin/policy-rc.d";
  const isOurs = !existsSync(policy);
  if (isOurs) {
    await writeFile(policy, "#!/bin/sh\nexit 101\n");
    await chmod(policy, 0o755);
  }
  try {
    await work();
  } finally {
    if (isOurs) await rm(policy, { force: true });
  }
}
