import { expect, test } from "vitest";
import { superseded } from "./prune.ts";

const version = (key: string, usedMs: number) => ({ key, usedMs });

test("the versions that were asked for last stay", () => {
  const versions = [
    version("old", 1),
    version("new", 9),
    version("used-again", 8),
    version("mid", 5),
  ];
  expect(superseded(versions, 3)).toEqual(["old"]);
  expect(superseded(versions, 4)).toEqual([]);
});
