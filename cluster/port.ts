// Free TCP ports of this machine.
import { createServer } from "node:net";

/** As many different ports as asked for, free on `address` at this moment. */
export async function freePorts(count: number, address: string): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  // All are held until the last is known, or the same one could be given twice.
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve, reject) => {
          server.once("error", reject);
          server.listen(0, address, () => {
            const bound = server.address();
            if (bound === null || typeof bound === "string")
              return reject(new Error(`no port on ${address}`));
            resolve(bound.port);
          });
        }),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
