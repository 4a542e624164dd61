// The pod network: a bridge in the node's network namespace.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Network } from "./network.ts";

/** Writes the configuration where containerd looks for it. */
export async function writeCni(folder: string, { podCidr, gateway }: Network): Promise<void> {
  const bridge = {
    type: "bridge",
    bridge: "cni0",
    isGateway: true,
    ipMasq: true,
    hairpinMode: true, // a pod may reach itself through its service
    ipam: {
      type: "host-local",
      ranges: [[{ subnet: podCidr, gateway }]],
      routes: [{ dst: "0.0.0.0/0" }],
    },
  };
  const portmap = { type: "portmap", capabilities: { portMappings: true } };
  const list = { cniVersion: "0.4.0", name: "deeptrain", plugins: [bridge, portmap] };
  await mkdir(join(folder, "cni.d"), { recursive: true });
  await writeFile(
    join(folder, "cni.d", "10-deeptrain.conflist"),
    JSON.stringify(list, undefined, 2),
  );
}
