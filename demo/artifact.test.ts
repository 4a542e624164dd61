import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { verifiedFiles } from "./artifact.ts";

const digest = (content: string) => `sha256:${createHash("sha256").update(content).digest("hex")}`;

const manifest = JSON.stringify({
  files: [{ path: "model.onnx", bytes: 5, digest: digest("model") }],
});

const store = (files: Record<string, string>) => async (file: string) =>
  Buffer.from(files[file] ?? "");

test("an artifact is its manifest and the files that it names", async () => {
  const read = store({ "manifest.json": manifest, "model.onnx": "model", other: "not named" });
  const files = await verifiedFiles(read, digest(manifest));
  expect([...files.keys()]).toEqual(["manifest.json", "model.onnx"]);
  expect(files.get("model.onnx")?.toString()).toBe("model");
});

test("another manifest, or another file than was published, is refused", async () => {
  const read = store({ "manifest.json": manifest, "model.onnx": "madel" });
  await expect(verifiedFiles(read, digest(manifest))).rejects.toThrow("model.onnx: sha256:");
  await expect(verifiedFiles(read, digest("{}"))).rejects.toThrow("manifest.json: sha256:");
});
