import { describe, expect, it } from "vitest";
import type { DatasetSpec } from "./dataset.ts";
import { importInputsHash } from "./inputs.ts";

const spec: DatasetSpec = { source: { http: { url: "http://a/b.tar" } }, format: "imageFolder" };

describe("import inputs hash", () => {
  it("counts a default that is written as unwritten", () => {
    const written = { ...spec, splits: { seed: 0 }, tolerance: { invalidPercent: 5 } };
    expect(importInputsHash(written)).toBe(importInputsHash(spec));
  });

  it("counts one frame a second as unwritten, and frames of videos only", () => {
    const videos: DatasetSpec = { ...spec, format: "videoFolder" };
    expect(importInputsHash({ ...videos, framesPerSecond: 1 })).toBe(importInputsHash(videos));
    expect(importInputsHash({ ...videos, framesPerSecond: 2 })).not.toBe(importInputsHash(videos));
    expect(importInputsHash({ ...spec, framesPerSecond: 2 })).toBe(importInputsHash(spec));
    const auto: DatasetSpec = { ...spec, format: "auto" };
    expect(importInputsHash({ ...auto, framesPerSecond: 2 })).not.toBe(importInputsHash(auto));
  });

  it("of what was imported before formats with boxes and videos came is what it was", () => {
    expect(importInputsHash(spec)).toBe(
      "sha256:d31f421d677cb2ed93e40206458d076c5c5b01eeb0e490303ba42ed7ab987277",
    );
  });

  it.each<[string, Partial<DatasetSpec>]>([
    ["address", { source: { http: { url: "http://a/c.tar" } } }],
    ["digest", { source: { http: { url: "http://a/b.tar", sha256: "0".repeat(64) } } }],
    ["claim", { source: { pvc: { claimName: "photos" } } }],
    ["seed", { splits: { seed: 1 } }],
    ["ratios", { splits: { ratios: { train: 0.5, validation: 0.25, test: 0.25 } } }],
    ["concepts", { concepts: ["cat"] }],
    ["format", { format: "coco" }],
    ["format, to videos", { format: "videoFolder" }],
    ["tolerance", { tolerance: { invalidPercent: 0 } }],
  ])("changes with the %s", (_, change) => {
    expect(importInputsHash({ ...spec, ...change })).not.toBe(importInputsHash(spec));
  });
});
