import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { buildah } from "./buildah.ts";
import { buildImage } from "./images.ts";
import { repositoryFolder } from "./registry.ts";

const name = "deeptrain/version-test";
let context = "";

beforeAll(async () => {
  context = await mkdtemp(join(tmpdir(), "deeptrain-versions-"));
  await writeFile(join(context, "Dockerfile"), "FROM scratch\nCOPY version /\n");
});

afterAll(() => rm(context, { recursive: true }));

async function build(version: number): Promise<string> {
  await writeFile(join(context, "version"), `${version}`);
  return buildImage({ name, context });
}

const manifests = () => readdir(join(repositoryFolder(name), "_manifests", "revisions", "sha256"));

const names = async (...filters: string[]) => {
  const flags = filters.flatMap((filter) => ["--filter", filter]);
  return (await buildah(["images", "--quiet", ...flags])).split("\n").filter(Boolean);
};

test("of an image the three versions that were asked for last are kept", async () => {
  const start = Date.now();
  const [one, two, three] = [await build(start), await build(start + 1), await build(start + 2)];
  expect(await build(start)).toBe(one);
  const four = await build(start + 3);
  const digests = [one, three, four].map((reference) => reference.split("sha256:")[1]);
  expect((await manifests()).sort()).toEqual(digests.sort());
  expect(await readdir(join(repositoryFolder(name), "_manifests", "tags"))).toHaveLength(3);
  expect(await names(`reference=localhost/${name}`)).toHaveLength(3);
  // What was removed can be built again.
  const again = await build(start + 1);
  expect(again).not.toBe(two);
  expect(await manifests()).toContain(again.split("sha256:")[1]);
});

test("what a build that was cut short has left is gone after the next", async () => {
  const container = (await buildah(["from", "scratch"])).trim();
  expect(await buildah(["containers"])).toContain(container);
  await build(Date.now());
  expect(await buildah(["containers"])).not.toContain(container);
  expect(await names("dangling=true")).toEqual([]);
});
