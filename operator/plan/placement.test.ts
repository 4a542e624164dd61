import { describe, expect, it } from "vitest";
import { placementAlone, placementDigest, placementOf } from "./placement.ts";
import { quantityTimes } from "./quantity.ts";
import { model } from "./testing/gen.ts";

const placed = (resources: NonNullable<ReturnType<typeof model>["spec"]["resources"]>) =>
  placementOf({ ...model().spec, template: "visual-classifier/resnet18", resources });

describe("memory that nobody asked for", () => {
  it.each([
    [{}, "4Gi"],
    [{ nodes: 2 }, "4Gi"],
    [{ gpus: 1 }, "4Gi"],
    [{ gpus: 8, nodes: 2 }, "32Gi"],
  ])("%o: the template's for each process of a node", (resources, memory) => {
    expect(placed(resources)).toMatchObject({ memory, memoryIsDefault: true });
  });

  it("is that of one process for what precedes them", () => {
    const template = "visual-classifier/resnet18";
    expect(placementAlone(placed({ gpus: 8 }), template)).toMatchObject({ memory: "4Gi", gpus: 8 });
    const asked = placed({ gpus: 8, memory: "10Gi" });
    expect(placementAlone(asked, template)).toEqual(asked);
  });

  it("is what was asked for, where it was", () => {
    expect(placed({ gpus: 8, memory: "10Gi" })).toMatchObject({ memory: "10Gi" });
    expect(placed({ gpus: 8, memory: "10Gi" })).not.toHaveProperty("memoryIsDefault");
  });

  it("is no change of the user's", () => {
    const placement = placed({ gpus: 8 });
    expect(placementDigest({ ...placement, memory: "4Gi" })).toBe(placementDigest(placement));
  });
});

describe("quantityTimes", () => {
  it.each([
    ["4Gi", 1, "4Gi"],
    ["4Gi", 8, "32Gi"],
    ["2.5Gi", 2, "5Gi"],
    ["500m", 3, "1500m"],
  ])("%s, %i times: %s", (quantity, times, want) => {
    expect(quantityTimes(quantity, times)).toBe(want);
  });
});
