import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { withLock } from "./lock.ts";

test("work under one name never overlaps", async () => {
  let inside = 0;
  let most = 0;
  const work = () =>
    withLock(`test ${process.pid}`, async () => {
      most = Math.max(most, ++inside);
      await sleep(5);
      inside--;
    });
  await Promise.all([work(), work(), work()]);
  expect(most).toBe(1);
});

test("work that throws gives the lock back", async () => {
  const name = `throws ${process.pid}`;
  await expect(withLock(name, () => Promise.reject(new Error("broken")))).rejects.toThrow("broken");
  expect(await withLock(name, async () => "next")).toBe("next");
});

test("work under another name does not wait", async () => {
  const inner = withLock(`outer ${process.pid}`, () =>
    withLock(`inner ${process.pid}`, async () => "both"),
  );
  expect(await inner).toBe("both");
});
