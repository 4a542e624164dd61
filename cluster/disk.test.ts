import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { diskRooms, shortage } from "./disk.ts";

const cache = { folder: "/cache", device: 1, gigabytes: 10, freeGigabytes: 16.04 };
const state = { folder: "/state", device: 1, gigabytes: 7, freeGigabytes: 16.04 };

test("folders of one file system share its room", () => {
  expect(shortage("the image", [cache, state])).toBe(
    "the image needs 17 GB of disk (/cache and /state), and 16.0 GB are free",
  );
  expect(shortage("the image", [cache, { ...state, device: 2 }])).toBeUndefined();
  expect(shortage("the image", [cache, { ...state, device: 2, freeGigabytes: 6.5 }])).toBe(
    "the image needs 7 GB of disk (/state), and 6.5 GB are free",
  );
});

test("a folder that is not there yet is on the file system of the one that will hold it", async () => {
  const [there, notYet] = await diskRooms([
    { folder: tmpdir(), gigabytes: 0 },
    { folder: join(tmpdir(), "not", "yet"), gigabytes: 0 },
  ]);
  expect(notYet?.device).toBe(there?.device);
  expect(notYet?.freeGigabytes).toBeGreaterThan(0);
});
