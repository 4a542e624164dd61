// Datasets, valid and invalid.

import { type ManifestCase, object, type Values } from "./manifest.ts";

const dataset = (change: Values, name?: string) =>
  object("Dataset", { source: http({}), format: "imageFolder", ...change }, name);
const http = (change: Values) => ({ http: { url: "https://example.org/a.tar.gz", ...change } });

export const acceptedDatasets: ManifestCase[] = [
  { name: "an archive", manifest: dataset({}) },
  {
    name: "every field of a dataset",
    manifest: dataset({
      source: http({ url: "http://data.demo.svc:8080/a.zip?x=@", sha256: "0".repeat(64) }),
      splits: { ratios: { train: 0.7, validation: 0.2, test: 0.1 }, seed: 3 },
      concepts: ["cat", "dog"],
      tolerance: { invalidPercent: 0.5 },
    }),
  },
  ...["coco", "voc", "yolo", "csv", "videoFolder", "auto"].map((format) => ({
    name: `the format ${format}`,
    manifest: dataset({ format }),
  })),
  {
    name: "a frame every two seconds",
    manifest: dataset({ format: "videoFolder", framesPerSecond: 0.5 }),
  },
  {
    name: "frames, should there be videos",
    manifest: dataset({ format: "auto", framesPerSecond: 2 }),
  },
  { name: "a claim", manifest: dataset({ source: { pvc: { claimName: "photos" } } }) },
  {
    name: "a folder of a claim",
    manifest: dataset({ source: { pvc: { claimName: "photos", path: "2026/cats" } } }),
  },
  {
    name: "no test split",
    manifest: dataset({ splits: { ratios: { train: 0.9, validation: 0.1, test: 0 } } }),
  },
  {
    name: "thirds",
    manifest: dataset({
      splits: { ratios: { train: 0.3333333, validation: 0.3333333, test: 0.3333334 } },
    }),
  },
  {
    name: "everything trains",
    manifest: dataset({ splits: { ratios: { train: 1, validation: 0, test: 0 } } }),
  },
];

export const refusedDatasets: ManifestCase[] = [
  { name: "no source", manifest: dataset({ source: undefined }), refused: "spec.source" },
  { name: "a source of nothing", manifest: dataset({ source: {} }), refused: "spec.source" },
  {
    name: "two sources",
    manifest: dataset({ source: { ...http({}), pvc: { claimName: "photos" } } }),
    refused: "spec.source",
  },
  {
    name: "a source that is not implemented",
    manifest: dataset({ source: { s3: { bucket: "b" } } }),
    refused: "spec.source.s3",
    unknown: true,
  },
  {
    name: "a source without address",
    manifest: dataset({ source: { http: {} } }),
    refused: "spec.source.http.url",
  },
  ...[
    ["a file address", "file:///etc/passwd"],
    ["an address with credentials", "https://me:secret@example.org/a.tar"],
    ["an address with a fragment", "https://example.org/a.tar#b"],
    ["an address with a space", "https://example.org/a b.tar"],
    ["an address with an invisible space", "https://example.org/a\u00a0b.tar"],
    ["an address without host", "https:///a.tar"],
    ["a relative address", "a.tar"],
  ].map(
    ([name = "", url]): ManifestCase => ({
      name,
      manifest: dataset({ source: http({ url }) }),
      refused: "spec.source.http.url",
    }),
  ),
  {
    name: "a sha256 in capitals",
    manifest: dataset({ source: http({ sha256: "A".repeat(64) }) }),
    refused: "spec.source.http.sha256",
  },
  {
    name: "a sha256 too short",
    manifest: dataset({ source: http({ sha256: "0".repeat(63) }) }),
    refused: "spec.source.http.sha256",
  },
  {
    name: "an absolute path in a claim",
    manifest: dataset({ source: { pvc: { claimName: "photos", path: "/etc" } } }),
    refused: "spec.source.pvc.path",
  },
  {
    name: "a path out of a claim",
    manifest: dataset({ source: { pvc: { claimName: "photos", path: "a/../../b" } } }),
    refused: "spec.source.pvc.path",
  },
  {
    name: "an unnamed claim",
    manifest: dataset({ source: { pvc: { claimName: "" } } }),
    refused: "spec.source.pvc.claimName",
  },
  { name: "no format", manifest: dataset({ format: undefined }), refused: "spec.format" },
  { name: "an unknown format", manifest: dataset({ format: "tfrecord" }), refused: "spec.format" },
  {
    name: "frames of pictures",
    manifest: dataset({ framesPerSecond: 1 }),
    refused: "spec.framesPerSecond",
  },
  {
    name: "no frames at all",
    manifest: dataset({ format: "videoFolder", framesPerSecond: 0 }),
    refused: "spec.framesPerSecond",
  },
  {
    name: "more frames than there are",
    manifest: dataset({ format: "videoFolder", framesPerSecond: 61 }),
    refused: "spec.framesPerSecond",
  },
  {
    name: "ratios below 1",
    manifest: dataset({ splits: { ratios: { train: 0.8, validation: 0.1, test: 0 } } }),
    refused: "spec.splits.ratios",
  },
  {
    name: "ratios above 1",
    manifest: dataset({ splits: { ratios: { train: 1, validation: 0.1, test: 0.1 } } }),
    refused: "spec.splits.ratios",
  },
  {
    name: "nothing to train on",
    manifest: dataset({ splits: { ratios: { train: 0, validation: 0.5, test: 0.5 } } }),
    refused: "spec.splits.ratios.train",
  },
  {
    name: "ratios without one of the three",
    manifest: dataset({ splits: { ratios: { train: 0.9, validation: 0.1 } } }),
    refused: "spec.splits.ratios.test",
  },
  {
    name: "a negative seed",
    manifest: dataset({ splits: { seed: -1 } }),
    refused: "spec.splits.seed",
  },
  {
    name: "a tolerance above 100",
    manifest: dataset({ tolerance: { invalidPercent: 101 } }),
    refused: "spec.tolerance.invalidPercent",
  },
  {
    name: "no concept of a dataset",
    manifest: dataset({ concepts: [] }),
    refused: "spec.concepts",
  },
  {
    name: "a concept of a dataset of more than 64 bytes",
    manifest: dataset({ concepts: ["🐈".repeat(17)] }),
    refused: "spec.concepts[0]",
  },
  {
    name: "a dataset's name too long",
    manifest: dataset({}, "d".repeat(41)),
    refused: "metadata.name",
  },
];
