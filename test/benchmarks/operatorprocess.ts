// The operator as a process beside an API server, and what it costs: CPU and memory.

import { type ChildProcess, spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { freePorts } from "../../cluster/port.ts";
import { until } from "../../demo/install.ts";
import { bundleOperator } from "../../operator/bundle.ts";

export interface OperatorProcess {
  /** Milliseconds from its start until /readyz said yes. */
  readyAfterMs: number;
  cost(): Promise<Cost>;
  stop(): Promise<void>;
}

export interface Cost {
  /** User and system time since the start. */
  cpuSeconds: number;
  residentBytes: number;
  /** Highest resident size since the start. */
  peakResidentBytes: number;
}

/** Clock ticks in a second: 100 on every Linux that Node runs on (proc(5)). */
const TICKS_PER_SECOND = 100;

export async function startOperator(
  kubeconfig: string,
  trainerImage: string,
): Promise<OperatorProcess> {
  const folder = await bundleOperator();
  const [progressPort = 0, healthPort = 0] = await freePorts(2, "127.0.0.1");
  const startedAt = performance.now();
  const child = spawn(
    process.execPath,
    [
      // As in the image.
      "--max-old-space-size=384",
      "--max-semi-space-size=4",
      join(folder, "operator.mjs"),
      `--kubeconfig=${kubeconfig}`,
      `--trainer-image=${trainerImage}`,
      "--progress-host=127.0.0.1",
      `--progress-port=${progressPort}`,
      `--health-port=${healthPort}`,
    ],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  try {
    await until("the operator is ready", 300_000, async () => {
      if (child.exitCode !== null) throw new Error(`the operator ended with ${child.exitCode}`);
      return isReady(healthPort);
    });
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
  const readyAfterMs = performance.now() - startedAt;
  return { readyAfterMs, cost: () => cost(child), stop: () => stop(child) };
}

async function isReady(port: number): Promise<boolean> {
  try {
    return (await fetch(`http://127.0.0.1:${port}/readyz`)).ok;
  } catch {
    return false;
  }
}

async function cost(child: ChildProcess): Promise<Cost> {
  const stat = await readFile(`/proc/${child.pid}/stat`, "utf8");
  // After the name in brackets: utime and stime are the 12th and 13th fields (proc(5)).
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const status = await readFile(`/proc/${child.pid}/status`, "utf8");
  const kib = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1]);
  return {
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND,
    residentBytes: kib("VmRSS") * 1024,
    peakResidentBytes: kib("VmHWM") * 1024,
  };
}

function stop(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    child.once("close", () => resolve());
    child.kill("SIGTERM");
  });
}
