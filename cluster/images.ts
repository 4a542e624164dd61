// Images of ours: built from a Dockerfile, kept in the registry's storage, and named by digest. The same inputs are built once.
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { buildah } from "./buildah.ts";
import { contextDigest, contextFiles, copyContext } from "./context.ts";
import { diskRooms, shortage } from "./disk.ts";
import { cacheFolder, clustersFolder } from "./folders.ts";
import { withLock } from "./lock.ts";
import { installImagePackages, UnfitMachine } from "./packages.ts";
import { endProgram } from "./program.ts";
import { pruneImage, recordFile, removeLeftovers } from "./prune.ts";
import { registryName, registryProgram, repositoryFolder, startRegistry } from "./registry.ts";

export { type Base, baseImage } from "./baseimage.ts";

export interface ImageSpec {
  /** For example `deeptrain/trainer`. */
  readonly name: string;
  readonly context: string;
  /** What of the context belongs to the image: files or folders relative to it. Default all but .git, node_modules and caches. */
  readonly inputs?: readonly string[];
  /** Relative to the context. Default `Dockerfile`. */
  readonly dockerfile?: string;
  readonly buildArgs?: Readonly<Record<string, string>>;
  /** What it takes unpacked, for an image so large that its first build should look for room before it starts. */
  readonly gigabytes?: number;
  /** Where to push instead of the registry of our clusters: `host[:port][/path]`, logged in to with `buildah login`. */
  readonly registry?: string;
  readonly say?: (line: string) => void;
}

const certificates = "/etc/ssl/certs";
const certificateFile = `${certificates}/ca-certificates.crt`;

/** Builds and pushes an image unless these inputs were before; resolves to its reference by digest, for pods of any of our clusters. */
export async function buildImage(spec: ImageSpec): Promise<string> {
  const { name, context, inputs = ["."], dockerfile = "Dockerfile", buildArgs = {} } = spec;
  await installImagePackages(spec.say ?? (() => {}));
  const files = await contextFiles(context, [...inputs, dockerfile]);
  const digest = await contextDigest(context, files);
  const key = createHash("sha256")
    .update(JSON.stringify([name, dockerfile, Object.entries(buildArgs).sort(), digest]))
    .digest("hex")
    .slice(0, 16);
  const before = () => (spec.registry === undefined ? builtBefore(name, key) : undefined);
  // One build at a time: what another has left in the storage is then known to be of none that runs.
  return (
    (await before()) ?? withLock("build", async () => (await before()) ?? build(spec, files, key))
  );
}

async function build(spec: ImageSpec, files: readonly string[], key: string): Promise<string> {
  const { name, context, dockerfile = "Dockerfile", buildArgs = {}, registry, say } = spec;
  await requireRoom(spec);
  say?.(`building the image ${name}`);
  await mkdir(cacheFolder("tmp"), { recursive: true });
  const work = await mkdtemp(cacheFolder("tmp", "image-"));
  try {
    await removeLeftovers();
    const staged = join(work, "context");
    await copyContext(context, files, staged);
    const local = `localhost/${name}:${key}`;
    const recipe = join(work, "Dockerfile");
    const text = await readFile(join(staged, dockerfile), "utf8");
    await writeFile(recipe, withArguments(text, Object.keys(installerEnvironment())));
    await buildah(["bud", ...buildFlags(buildArgs), "--file", recipe, "--tag", local, staged]);
    return await withLock("push", async () => {
      if (registry !== undefined) {
        const repository = `${registry}/${name}`;
        return `${repository}@${await pushTo(`${repository}:${key}`, local, work)}`;
      }
      const reference = `${registryName}/${name}@${await push(local, name, key, work)}`;
      await rememberBuilt(name, key, reference);
      // The image is there: whatever is wrong with older ones is no reason to stop.
      await pruneImage(name).catch((error: Error) => say?.(`older images stay: ${error.message}`));
      return reference;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

// Unpacked in buildah's storage and again on a node, compressed in the registry. Later builds share nearly all of it, unless
// what is installed in the image has changed: then older versions make room.
async function requireRoom({ name, gigabytes = 0, registry, say }: ImageSpec): Promise<void> {
  if (gigabytes === 0) return;
  const cache = { folder: cacheFolder(), gigabytes: 1.6 * gigabytes };
  const node = { folder: clustersFolder(), gigabytes: 1.1 * gigabytes };
  const rooms = await diskRooms(registry === undefined ? [cache, node] : [cache]);
  const problem = shortage(`the image ${name}`, rooms);
  if (problem === undefined) return;
  if (!existsSync(repositoryFolder(name))) throw new UnfitMachine(problem);
  say?.(`little room on the disk: older versions of the image ${name} go`);
  await withLock("push", () => pruneImage(name, 1));
}

function buildFlags(buildArgs: Readonly<Record<string, string>>): string[] {
  const environment = Object.entries(installerEnvironment());
  return [
    "--layers",
    // Neither a user namespace nor a network of its own: a build works as on the machine itself, which may be a container.
    ...["--isolation", "chroot", "--network", "host"],
    ...(existsSync(certificates) ? ["--volume", `${certificates}:${certificates}:ro`] : []),
    ...Object.entries(buildArgs).flatMap(([key, value]) => ["--build-arg", `${key}=${value}`]),
    ...environment.flatMap(([key, value]) => ["--build-arg", `${key}=${value}`]),
  ];
}

/** A Dockerfile whose every stage takes these arguments, which are then variables while it is built and no longer. */
export function withArguments(dockerfile: string, names: readonly string[]): string {
  const lines = names.map((name) => `ARG ${name}`).join("\n");
  return dockerfile.replace(/^\s*FROM\s.*$/gim, (from) => `${from}\n${lines}`);
}

// The settings of pip and uv that this machine has. Paths of this machine mean nothing inside, but for the certificates.
function installerEnvironment(): Record<string, string> {
  const isSetting = (key: string) => /^(PIP|UV)_/i.test(key) || /^(https?|no)_proxy$/i.test(key);
  const settings = Object.entries(process.env).filter(
    (entry): entry is [string, string] =>
      isSetting(entry[0]) &&
      entry[1] !== undefined &&
      (!entry[1].startsWith("/") || entry[1].startsWith(certificates)),
  );
  return {
    SSL_CERT_FILE: certificateFile,
    PIP_CERT: certificateFile,
    ...Object.fromEntries(settings),
  };
}

// Always the same: buildah remembers by address which compressed layers a registry has, and skips them. All of 127.0.0.0/8 is
// this machine's loopback, so nobody else has it.
const pushAddress = { address: "127.68.84.1", port: 5000 };

// zstd at level 1: gigabytes of libraries are pushed and pulled several times as fast as with gzip.
async function push(local: string, name: string, tag: string, work: string): Promise<string> {
  await startRegistry({ folder: work, ...pushAddress, daemon: false });
  try {
    const { address, port } = pushAddress;
    return await pushTo(`${address}:${port}/${name}:${tag}`, local, work);
  } finally {
    await endProgram(work, registryProgram);
  }
}

/** Resolves to the digest of what was pushed. */
async function pushTo(target: string, local: string, work: string): Promise<string> {
  const digestFile = join(work, "digest");
  const compression = ["--compression-format", "zstd", "--compression-level", "1"];
  // A registry at a bare address has no certificate that anybody could check; one with a name is held to its own.
  const verify = !/^[0-9.]+(:[0-9]+)?\//.test(target);
  await buildah([
    ...["push", `--tls-verify=${verify}`, "--format", "oci", ...compression],
    ...["--digestfile", digestFile, local, `docker://${target}`],
  ]);
  return (await readFile(digestFile, "utf8")).trim();
}

async function builtBefore(name: string, key: string): Promise<string | undefined> {
  const record = recordFile(name, key);
  const reference = await readFile(record, "utf8").catch(() => undefined);
  if (reference === undefined) return undefined;
  const hex = reference.split("@sha256:")[1] ?? "";
  const inRegistry = join(repositoryFolder(name), "_manifests", "revisions", "sha256", hex, "link");
  if (!existsSync(inRegistry)) return undefined;
  const now = new Date();
  await utimes(record, now, now);
  return reference;
}

async function rememberBuilt(name: string, key: string, reference: string): Promise<void> {
  await mkdir(cacheFolder("images"), { recursive: true });
  await writeFile(recordFile(name, key), reference);
}
