// Runs a program to its end and gives back what it printed.
import { spawn } from "node:child_process";
import { programPath } from "./environment.ts";

export interface CommandOptions {
  readonly cwd?: string;
  /** Added to this process's environment. */
  readonly env?: Record<string, string>;
  readonly input?: string;
  /** Called with each piece of output as it comes, for programs that run for minutes. */
  readonly onOutput?: (text: string) => void;
}

const shownOnFailure = 4000;

/** Runs `program` and resolves to its standard output; rejects with the end of its output when it fails. */
export function command(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: { ...process.env, PATH: programPath(), ...options.env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    const out: Buffer[] = [];
    const all: Buffer[] = [];
    const keep = (chunk: Buffer) => {
      all.push(chunk);
      options.onOutput?.(chunk.toString());
    };
    child.stdout.on("data", (chunk: Buffer) => {
      out.push(chunk);
      keep(chunk);
    });
    child.stderr.on("data", keep);
    child.stdin.on("error", () => {}); // a program that does not read its input closes it early
    child.stdin.end(options.input ?? "");
    child.once("error", (error) => reject(new Error(`${program}: ${error.message}`)));
    child.once("close", (code, signal) => {
      if (code === 0) return resolve(Buffer.concat(out).toString());
      const text = Buffer.concat(all).toString().trim().slice(-shownOnFailure);
      reject(new Error(`${program} ${args.join(" ")} ended with ${signal ?? code}:\n${text}`));
    });
  });
}

/** Like `command`, but says whether it succeeded; for steps that are fine to find already done. */
export async function succeeds(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<boolean> {
  return command(program, args, options).then(
    () => true,
    () => false,
  );
}
