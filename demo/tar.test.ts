import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { command } from "../cluster/command.ts";
import { tarGz } from "./tar.ts";

const files = {
  "train/": "",
  "train/bag/0.png": Buffer.from([0, 255, 10]),
  "b.txt": "b".repeat(512),
};

test("what tar unpacks is what went in", async () => {
  const folder = await mkdtemp(join(tmpdir(), "deeptrain-tar-"));
  try {
    await writeFile(join(folder, "a.tar.gz"), tarGz(files));
    await command("tar", ["-xzf", "a.tar.gz"], { cwd: folder });
    expect(await readFile(join(folder, "train/bag/0.png"))).toEqual(Buffer.from([0, 255, 10]));
    expect(await readFile(join(folder, "b.txt"), "utf8")).toBe("b".repeat(512));
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("equal entries give equal bytes, which name no machine", () => {
  expect(tarGz({ ...files }).equals(tarGz(files))).toBe(true);
  expect([...tarGz(files).subarray(3, 10)]).toEqual([0, 0, 0, 0, 0, 0, 255]);
});

test("a name that does not fit is not cut", () => {
  expect(() => tarGz({ ["a".repeat(101)]: "" })).toThrow("at most 100 bytes");
});
