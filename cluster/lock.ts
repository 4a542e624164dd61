// A lock between processes of this machine that a crash cannot leave behind: whoever listens on the abstract socket of that
// name holds it, and the kernel closes it with the process.
import { createHash } from "node:crypto";
import { createServer, type Server } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

const retryMs = 100;

/** Runs `work` while no other process runs work under the same name. */
export async function withLock<T>(name: string, work: () => Promise<T>): Promise<T> {
  const digest = createHash("sha256").update(name).digest("hex").slice(0, 32);
  let held = await tryListen(`\0deeptrain-lock-${digest}`);
  while (held === undefined) {
    await sleep(retryMs);
    held = await tryListen(`\0deeptrain-lock-${digest}`);
  }
  const server = held;
  try {
    return await work();
  } finally {
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }
}

function tryListen(address: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once("error", (error: NodeJS.ErrnoException) =>
      error.code === "EADDRINUSE" ? resolve(undefined) : reject(error),
    );
    server.listen(address, () => resolve(server));
  });
}
