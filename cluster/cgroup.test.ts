import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { hierarchies, subtreeControl } from "./cgroup.ts";

let root = "";

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "deeptrain-cgroup-"));
});

afterEach(() => rm(root, { recursive: true }));

test("with cgroup v2 there is one hierarchy, the mount point", async () => {
  await writeFile(join(root, "cgroup.controllers"), "cpu memory\n");
  await writeFile(join(root, "cgroup.procs"), "");
  await mkdir(join(root, "system.slice"));
  await writeFile(join(root, "system.slice", "cgroup.procs"), "");
  expect(await hierarchies(root)).toEqual([root]);
});

test("with cgroup v1 each controller has a hierarchy, once, whatever links name it", async () => {
  for (const name of ["cpu,cpuacct", "memory"]) {
    await mkdir(join(root, name));
    await writeFile(join(root, name, "cgroup.procs"), "");
  }
  await symlink("cpu,cpuacct", join(root, "cpu"));
  await mkdir(join(root, "not-mounted"));
  expect((await hierarchies(root)).sort()).toEqual([
    join(root, "cpu,cpuacct"),
    join(root, "memory"),
  ]);
});

test.each([
  // Debian 12.
  ["cpuset cpu io memory hugetlb pids rdma misc\n", "+cpu +cpuset +memory +hugetlb +pids"],
  // A kernel without huge pages: asking for them would enable nothing.
  ["cpuset cpu io memory pids\n", "+cpu +cpuset +memory +pids"],
])("of the controllers %j the kubelet's are enabled", (available, enabling) => {
  expect(subtreeControl(available)).toBe(enabling);
});
