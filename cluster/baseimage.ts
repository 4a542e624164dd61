// Base images from Debian packages, for a machine that reaches no image registry. Elsewhere the Dockerfiles' argument BASE is
// python:3.12-slim or node:24-slim.
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { buildah, hasImage } from "./buildah.ts";
import { command } from "./command.ts";
import { cacheFolder } from "./folders.ts";
import { withLock } from "./lock.ts";
import { installImagePackages } from "./packages.ts";

export type Base = "python" | "node";

const suite = "bookworm";

const packages: Readonly<Record<Base, readonly string[]>> = {
  python: ["python3-minimal", "python3-venv", "ca-certificates"],
  node: ["ca-certificates", "libstdc++6"],
};

/** The name of a base image in our buildah storage; builds it when it is not there (under a minute, once). */
export async function baseImage(
  base: Base,
  say: (line: string) => void = () => {},
): Promise<string> {
  await installImagePackages(say);
  const node = base === "node" ? await nodeProgram() : undefined;
  const key = createHash("sha256")
    .update(JSON.stringify([suite, packages[base], node?.version]))
    .digest("hex")
    .slice(0, 12);
  const name = `localhost/deeptrain-base-${base}:${key}`;
  return withLock("build", async () => {
    if (!(await hasImage(name))) {
      say(`building the base image for ${base} (about a minute, once)`);
      await build(name, packages[base], node?.path);
    }
    return name;
  });
}

async function build(
  name: string,
  include: readonly string[],
  node: string | undefined,
): Promise<void> {
  await mkdir(cacheFolder("tmp"), { recursive: true });
  const work = await mkdtemp(cacheFolder("tmp", "base-"));
  try {
    const root = join(work, "root");
    await command("debootstrap", [
      "--variant=minbase",
      `--include=${include.join(",")}`,
      suite,
      root,
      await mirror(),
    ]);
    const archive = join(work, "root.tar");
    const left = [
      "./dev/*",
      "./var/cache/apt/archives/*.deb",
      "./var/lib/apt/lists/*",
      "./var/log/*",
    ];
    await command("tar", [
      "-C",
      root,
      "--numeric-owner",
      ...left.map((each) => `--exclude=${each}`),
      "-cf",
      archive,
      ".",
    ]);
    const container = (await buildah(["from", "scratch"])).trim();
    await buildah(["add", container, archive, "/"]);
    if (node !== undefined)
      await buildah(["copy", "--chmod", "0755", container, node, "/usr/local/bin/node"]);
    const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    await buildah(["config", "--env", `PATH=${path}`, "--env", "LANG=C.UTF-8", container]);
    await buildah(["commit", "--rm", container, name]);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

// Where this machine itself gets Debian's packages from.
async function mirror(): Promise<string> {
  const targets = await command("apt-get", [
    "indextargets",
    "--format",
    "$(REPO_URI)|$(COMPONENT)|$(RELEASE)",
    "Created-By: Packages",
  ]);
  const found = targets
    .split("\n")
    .find((line) => line.endsWith(`|main|${suite}`))
    ?.split("|")[0];
  if (found === undefined)
    throw new Error(
      `the base images are built from Debian ${suite}, which is not among this machine's package sources`,
    );
  return found;
}

// The npm package brings a Node that depends on nothing but the C and C++ libraries.
async function nodeProgram(): Promise<{ path: string; version: string }> {
  const manifest = createRequire(import.meta.url).resolve("node/package.json");
  const text: unknown = JSON.parse(await readFile(manifest, "utf8"));
  const version =
    typeof text === "object" && text !== null && "version" in text
      ? String(text.version)
      : "unknown";
  return { path: join(dirname(manifest), "bin", "node"), version };
}
