import {
  chmod,
  mkdir,
  mkdtemp,
  readFile,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { contextDigest, contextFiles, copyContext } from "./context.ts";
import { withArguments } from "./images.ts";

let folder = "";

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "deeptrain-context-"));
  await mkdir(join(folder, "src", "node_modules"), { recursive: true });
  await writeFile(join(folder, "src", "main.py"), "print(1)\n");
  await writeFile(join(folder, "src", "node_modules", "huge.js"), "");
  await writeFile(join(folder, "run.sh"), "#!/bin/sh\n");
});

afterEach(() => rm(folder, { recursive: true }));

const digest = async () => contextDigest(folder, await contextFiles(folder, ["."]));

test("a context is the files named, without dependencies and caches", async () => {
  expect(await contextFiles(folder, ["."])).toEqual(["run.sh", "src/main.py"]);
  expect(await contextFiles(folder, ["src", "src/main.py"])).toEqual(["src/main.py"]);
});

test("the digest changes with content and mode, not with times", async () => {
  const before = await digest();
  await utimes(join(folder, "run.sh"), new Date(0), new Date(0));
  expect(await digest()).toBe(before);
  await chmod(join(folder, "run.sh"), 0o755);
  const executable = await digest();
  expect(executable).not.toBe(before);
  await writeFile(join(folder, "src", "main.py"), "print(2)\n");
  expect(await digest()).not.toBe(executable);
});

test("a copy has modes and times of content alone", async () => {
  await chmod(join(folder, "run.sh"), 0o700);
  const target = join(folder, "copy");
  await copyContext(folder, ["run.sh", "src/main.py"], target);
  const [script, module] = await Promise.all(
    ["run.sh", "src/main.py"].map((file) => stat(join(target, file))),
  );
  expect([(script?.mode ?? 0) & 0o777, (module?.mode ?? 0) & 0o777]).toEqual([0o755, 0o644]);
  expect(script?.mtimeMs).toBe(module?.mtimeMs);
  expect(await readFile(join(target, "src/main.py"), "utf8")).toBe("print(1)\n");
});

test("a link is refused: what it points to is not in the context", async () => {
  await symlink("/etc/passwd", join(folder, "link"));
  await expect(contextFiles(folder, ["."])).rejects.toThrow("files and folders only");
});

test("every stage of a Dockerfile takes the arguments", () => {
  const dockerfile = "ARG BASE\nFROM $BASE AS one\nRUN a\nfrom one\nCOPY --from=one a b\n";
  expect(withArguments(dockerfile, ["A", "B"])).toBe(
    "ARG BASE\nFROM $BASE AS one\nARG A\nARG B\nRUN a\nfrom one\nARG A\nARG B\nCOPY --from=one a b\n",
  );
});
