// One running program of a cluster: started with its output in a log file, found again later, by this or another process,
// by its pid and start time (a pid alone may have been given to somebody else since).
import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { programEnvironment } from "./environment.ts";

export interface ProgramSpec {
  readonly name: string;
  readonly argv: readonly string[];
  /** The cluster's folder: the log goes to `log/`, the pid to `run/`. */
  readonly folder: string;
  readonly env?: Record<string, string>;
  /** True: it outlives this process. False: the kernel ends it when this process dies, SIGKILL included. */
  readonly daemon: boolean;
}

interface Identity {
  readonly pid: number;
  readonly bootId: string;
  /** In clock ticks since boot, as /proc tells it. */
  readonly startTime: string;
}

/** The variable by which processes of a cluster are known, also those whose pid was never written down. */
const folderVariable = "DEEPTRAIN_CLUSTER";

/** Starts a program and resolves when it runs, which is not when it is ready. */
export async function startProgram(spec: ProgramSpec): Promise<number> {
  await mkdir(join(spec.folder, "run"), { recursive: true });
  await mkdir(join(spec.folder, "log"), { recursive: true });
  const log = openSync(logFile(spec.folder, spec.name), "a");
  const argv = spec.daemon ? spec.argv : ["setpriv", "--pdeathsig", "KILL", "--", ...spec.argv];
  const [file = "", ...args] = argv;
  // Always a session of its own: a Ctrl-C in the terminal must not reach the programs before the one that stops them in order.
  const child = spawn(file, args, {
    cwd: spec.folder,
    detached: true,
    stdio: ["ignore", log, log],
    env: { ...programEnvironment(), ...spec.env, [folderVariable]: spec.folder },
  });
  closeSync(log);
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", reject);
  });
  child.unref();
  const { pid } = child;
  const identity = pid === undefined ? undefined : identify(pid);
  if (pid === undefined || identity === undefined)
    throw new Error(`${spec.name} ended at once:\n${await logTail(spec.folder, spec.name)}`);
  await writeFile(pidFile(spec.folder, spec.name), JSON.stringify(identity));
  return pid;
}

/** The pid of a program that is running, or undefined. */
export async function runningProgram(folder: string, name: string): Promise<number | undefined> {
  const text = await readFile(pidFile(folder, name), "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  const written = identityFrom(text);
  if (written === undefined) return undefined;
  const now = identify(written.pid);
  return now?.bootId === written.bootId && now.startTime === written.startTime
    ? written.pid
    : undefined;
}

/** Ends a program and waits until it and its children are gone: `signal` first, SIGKILL if that takes longer than `graceMs`. */
export async function endProgram(
  folder: string,
  name: string,
  signal: NodeJS.Signals = "SIGTERM",
  graceMs = 5000,
): Promise<void> {
  const pid = await runningProgram(folder, name);
  if (pid !== undefined) await endProcesses([...children(pid), pid], signal, graceMs);
  await rm(pidFile(folder, name), { force: true });
}

/** Ends every process that a cluster started, also those of a start that was cut short. */
export async function endLeftovers(folder: string): Promise<void> {
  await endProcesses(await processesOf(folder), "SIGKILL", 5000);
  await rm(join(folder, "run"), { recursive: true, force: true });
}

/** The pids of all processes that a folder or one below it names, pods excepted (those have an environment of their own). */
export async function processesOf(folder: string): Promise<number[]> {
  const wanted = `${folderVariable}=${folder}`;
  const pids = (await readdir("/proc")).filter((entry) => /^\d+$/.test(entry));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const environment = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
      return environment
        .split("\0")
        .some((each) => each === wanted || each.startsWith(`${wanted}/`))
        ? [Number(pid)]
        : [];
    }),
  );
  return found.flat().filter((pid) => pid !== process.pid && identify(pid) !== undefined);
}

/** Signals processes and waits until none is left. */
export async function endProcesses(
  pids: readonly number[],
  signal: NodeJS.Signals,
  graceMs: number,
): Promise<void> {
  const targets = pids.flatMap((pid) => identify(pid) ?? []);
  for (const each of targets) send(each.pid, signal);
  const deadline = Date.now() + graceMs;
  let killed = signal === "SIGKILL";
  while (targets.some(isAlive)) {
    if (Date.now() > deadline + 5000)
      throw new Error(`processes ${targets.filter(isAlive).map((each) => each.pid)} do not end`);
    if (!killed && Date.now() > deadline) {
      for (const each of targets.filter(isAlive)) send(each.pid, "SIGKILL");
      killed = true;
    }
    await sleep(10);
  }
}

/** The last lines of a program's log, for error messages. */
export async function logTail(folder: string, name: string): Promise<string> {
  const text = await readFile(logFile(folder, name), "utf8").catch(() => "");
  return text.trim().split("\n").slice(-15).join("\n");
}

/** The direct children of a process. */
export function children(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
      .split(" ")
      .filter(Boolean)
      .map(Number);
  } catch {
    return [];
  }
}

function logFile(folder: string, name: string): string {
  return join(folder, "log", `${name}.log`);
}

function pidFile(folder: string, name: string): string {
  return join(folder, "run", `${name}.json`);
}

function isAlive(identity: Identity): boolean {
  return identify(identity.pid)?.startTime === identity.startTime;
}

// A zombie counts as gone: it holds nothing any more, only waits for its parent to look.
function identify(pid: number): Identity | undefined {
  try {
    const bootId = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const [state, startTime] = [fields[0], fields[19]];
    return state === "Z" || state === "X" || startTime === undefined
      ? undefined
      : { pid, bootId, startTime };
  } catch {
    return undefined;
  }
}

function identityFrom(text: string): Identity | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (
      typeof value !== "object" ||
      value === null ||
      !("pid" in value && "bootId" in value && "startTime" in value)
    )
      return undefined;
    const { pid, bootId, startTime } = value;
    return typeof pid === "number" && typeof bootId === "string" && typeof startTime === "string"
      ? { pid, bootId, startTime }
      : undefined;
  } catch {
    return undefined;
  }
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Already gone.
  }
}
