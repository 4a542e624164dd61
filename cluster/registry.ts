// The image registry. Its storage lies in the cache and is shared: every cluster runs a registry of its own over it, and so
// does each push. Images have a name that is no address, which each node resolves to the registry of its cluster.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { binary } from "./binaries.ts";
import { cacheFolder } from "./folders.ts";
import { startProgram } from "./program.ts";
import { get } from "./request.ts";
import { waitUntil } from "./wait.ts";

/** The first part of our images' names. */
export const registryName = "registry.deeptrain.internal";

/** The port of a cluster's registry, on the address that is its own. */
export const registryPort = 5000;

/** The program's name among those of a cluster. */
export const registryProgram = "registry";

export interface RegistrySpec {
  readonly folder: string;
  readonly address: string;
  readonly port: number;
  readonly daemon: boolean;
}

/** The configuration of a registry over our storage. */
export function registryConfiguration(listen: string): object {
  return {
    version: 0.1,
    log: { level: "warn", accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: storageFolder() } },
    http: { addr: listen },
  };
}

/** Where the registry program keeps what it knows of an image. */
export function repositoryFolder(name: string): string {
  return join(storageFolder(), "docker", "registry", "v2", "repositories", name);
}

function storageFolder(): string {
  return cacheFolder("registry");
}

/** Starts a registry at `address:port` and resolves when it answers. */
export async function startRegistry({
  folder,
  address,
  port,
  daemon,
}: RegistrySpec): Promise<void> {
  await mkdir(storageFolder(), { recursive: true });
  const config = join(folder, "registry.json");
  await writeFile(config, JSON.stringify(registryConfiguration(`${address}:${port}`)));
  const argv = [await binary("registry"), "serve", config];
  // It would send traces to a collector that is not there.
  await startProgram({
    name: registryProgram,
    argv,
    folder,
    daemon,
    env: { OTEL_TRACES_EXPORTER: "none" },
  });
  await waitUntil(async () => (await get(`http://${address}:${port}/v2/`)).status === 200, {
    what: "the registry",
    timeoutMs: 15_000,
  });
}
