import { describe, expect, test } from "vitest";
import type { DatasetReport } from "../../api/dataset.ts";
import type { DeepModelSpec } from "../../api/deepmodel.ts";
import { condition } from "./conditions.ts";
import { planDeepModel } from "./deepmodel.ts";
import { trained, world } from "./testing/deepmodelstates.ts";
import { at, model, readyDataset, report, version, withBoxes } from "./testing/gen.ts";

const retinanet = "visual-detector/retinanet-efficientnet-lite0";
const ssdlite = "visual-detector/ssdlite-efficientnet-lite0";
const fasterrcnn = "visual-detector/fasterrcnn-resnet50";
const linear = "context-based-classifier/linear";
const arcface = "visual-embedder/arcface-efficientnet-lite0";
const resnet = "visual-classifier/resnet18";

const asking = (
  template: DeepModelSpec["template"],
  hyperparameters: DeepModelSpec["hyperparameters"] = {},
  spec: Partial<DeepModelSpec> = {},
) => model({ spec: { template, hyperparameters, ...spec } });

const planned = (given: Parameters<typeof world>[0]) => {
  const { status, effects } = planDeepModel(world(given));
  if (status === undefined) throw new Error("no status");
  return { status, effects };
};

const named = (count: number, train = 20): DatasetReport =>
  report("a", Object.fromEntries(Array.from({ length: count }, (_, i) => [`c${i}`, train])));

describe("data that cannot train a template", () => {
  const perClass = { use_perclass_regression: true };
  const emptyTrain = withBoxes(report());
  const background = { ...report(), items: { train: 9000, validation: 900, test: 900 } };
  const twice = (split: "train" | "validation" | "test") => ({
    ...report(),
    items: { ...report().items, [split]: report().items[split] - 1 },
  });
  const noTrainBoxes = { ...emptyTrain, boxes: { ...emptyTrain.boxes, train: 0 } } as DatasetReport;

  test.each<[string, ReturnType<typeof asking>, DatasetReport, string, RegExp]>([
    [
      "a detector, and no boxes",
      asking(retinanet),
      report(),
      "NoBoxes",
      /^spec\.datasetRef\.name: .*photos has no boxes.*coco, voc, yolo, or csv.*visual-classifier/,
    ],
    ["a detector, and none to train on", asking(ssdlite), noTrainBoxes, "NoBoxes", /train split/],
    [
      "a concept without boxes in train",
      asking(ssdlite),
      withBoxes(report("a", { cat: 900, dog: 0 })),
      "NoPositives",
      /^spec\.datasetRef\.name: .*photos shows dog; .*other concepts in spec\.concepts$/,
    ],
    [
      "a chosen concept without training items",
      asking(resnet, {}, { concepts: ["cat", "dog"] }),
      report("a", { cat: 900, cow: 900, dog: 0 }),
      "NoPositives",
      /^spec\.concepts: .*photos shows dog; .*leave it out$/,
    ],
    [
      "nothing to train on",
      asking(resnet),
      { ...report(), items: { train: 0, validation: 80, test: 80 } },
      "NoData",
      /^spec\.datasetRef\.name: .*photos has no training items; .*spec\.splits\.ratios/,
    ],
    [
      "an embedder of one concept",
      asking(arcface),
      report("a", { cat: 900 }),
      "SingleConcept",
      /^spec\.datasetRef\.name: an embedder .*only cat; add items of other concepts to .*photos$/,
    ],
    [
      "an embedder of one of several concepts",
      asking(arcface, {}, { concepts: ["dog"] }),
      report(),
      "SingleConcept",
      /^spec\.concepts: an embedder .*only dog; name others, too$/,
    ],
    [
      "softmax of one concept on a head",
      asking(linear, { logreg: false }),
      report("a", { cat: 900 }),
      "SingleConcept",
      /^spec\.hyperparameters\.logreg: .*only cat; set it to true, or add items of .*photos$/,
    ],
    [
      "softmax of one of several concepts",
      asking(resnet, { logreg: false }, { concepts: ["dog"] }),
      report(),
      "SingleConcept",
      /^spec\.hyperparameters\.logreg: .*only dog; set it to true, or name others in spec\.concepts$/,
    ],
    [
      "softmax of items that show several concepts",
      asking(resnet, { logreg: false }),
      twice("train"),
      "ConceptsOverlap",
      /^spec\.hyperparameters\.logreg: .*some train items of .*photos show several; set it to true/,
    ],
    [
      "the same on a head, in the test split alone",
      asking(linear, { logreg: false }, { concepts: ["cat", "dog"] }),
      twice("test"),
      "ConceptsOverlap",
      /^spec\.hyperparameters\.logreg: .*some test items/,
    ],
    [
      "an embedder of items that show several concepts",
      asking(arcface),
      twice("validation"),
      "ConceptsOverlap",
      /^spec\.concepts: .*some validation items of .*photos show several; name concepts that exclude/,
    ],
    [
      "regressors for each of too many concepts, 9 anchors",
      asking(retinanet, perClass),
      withBoxes(named(228)),
      "HyperparameterInvalid",
      /use_perclass_regression: 9 anchors x 4 x 228.*at most 227/,
    ],
    [
      "the same, 6 anchors",
      asking(ssdlite, perClass),
      withBoxes(named(342)),
      "HyperparameterInvalid",
      /6 anchors x 4 x 342.*at most 341/,
    ],
    [
      "a batch that three processes cannot share",
      asking(resnet, {}, { resources: { nodes: 3 } }),
      report(),
      "BatchNotDivisible",
      /batch_size: 64 cannot be shared evenly by 3 processes.*63 or 66/,
    ],
    [
      "nodes with GPUs, of which each has a process",
      asking(resnet, { batch_size: 12 }, { resources: { nodes: 2, gpus: 4 } }),
      report(),
      "BatchNotDivisible",
      /by 8 processes.*8 or 16/,
    ],
    [
      "a head in several processes",
      asking(linear, {}, { resources: { nodes: 2 } }),
      report(),
      "HyperparameterInvalid",
      /spec.resources: .*one process/,
    ],
    [
      "fewer items than a batch",
      asking(arcface),
      report("a", { cat: 20, dog: 20 }),
      "BatchLargerThanData",
      /batch_size: 64.*40/,
    ],
    ...[
      asking(arcface, { batch_size: 1024 }),
      asking(resnet, { batch_size: 1024, logreg: false }),
    ].map((asked): [string, ReturnType<typeof asking>, DatasetReport, string, RegExp] => [
      `fewer items of its concepts than a batch beside pictures of none: ${asked.spec.template}`,
      asked,
      { ...background, concepts: report("a", { cat: 500, dog: 500 }).concepts },
      "BatchLargerThanData",
      /^spec\.hyperparameters\.batch_size: 1024 is more than the 1000 training items/,
    ]),
  ])("%s", (_, asked, data, reason, message) => {
    const { status, effects } = planned({ model: asked, dataset: readyDataset(data) });
    expect(effects).toEqual([]);
    expect(condition(status, "Accepted")).toMatchObject({ status: "False", reason });
    expect(condition(status, "Ready")?.message).toMatch(message);
  });

  test.each<[string, ReturnType<typeof asking>, DatasetReport]>([
    ["as many regressors as there may be", asking(retinanet, perClass), withBoxes(named(227))],
    ["regressors of a proposal, for every concept", asking(fasterrcnn), withBoxes(named(1000))],
    ["shared regressors of more concepts", asking(retinanet), withBoxes(named(300))],
    ["a detector of one concept", asking(ssdlite), withBoxes(report("a", { cat: 900 }))],
    ["a head on fewer items than a batch", asking(linear), report("a", { cat: 20, dog: 20 })],
    ["a classifier on boxes", asking(resnet), withBoxes(report())],
    ["concepts that overlap", asking(resnet), twice("train")],
    [
      "softmax of the concepts of data with others, none of which overlap",
      asking(resnet, { logreg: false }, { concepts: ["cat", "dog"] }),
      { ...report("a", { cat: 600, cow: 1200, dog: 600 }), items: report().items },
    ],
  ])("%s: it is trained", (_, asked, data) => {
    const { effects } = planned({ model: asked, dataset: readyDataset(data) });
    expect(effects).toMatchObject([{ verb: "create" }]);
  });
});

describe("pictures of none of the concepts", () => {
  const data = withBoxes({ ...report(), items: { train: 9600, validation: 160, test: 160 } });
  const small = { batch_size: 100, num_epochs: 2 };

  test.each<[string, ReturnType<typeof asking>, number]>([
    ["softmax leaves them out", asking(resnet, { ...small, logreg: false }), 12],
    ["an embedder leaves them out", asking(arcface, small), 12],
    ["logistic regression learns from them", asking(resnet, small), 96],
    ["a detector learns from them", asking(ssdlite, small), 96],
  ])("%s", (_, asked, stepsPerEpoch) => {
    const { status } = planned({ model: asked, dataset: readyDataset(data) });
    expect(status.resolved).toMatchObject({ stepsPerEpoch, totalSteps: 2 * stepsPerEpoch });
  });
});

describe("warnings", () => {
  const warned = (asked: ReturnType<typeof asking>, data: DatasetReport) =>
    condition(planned({ model: asked, dataset: readyDataset(data) }).status, "DataWarning");

  test("a gate on a concept that the data lack is told before anything is trained, and keeps nothing from it", () => {
    const gates = [
      { metric: "ap" as const, concept: "cat", min: 0.5 },
      { metric: "ap" as const, concept: "defct", min: 0.5 },
    ];
    const { status, effects } = planned({ model: model({ spec: { gates } }) });
    expect(effects).toHaveLength(1);
    expect(condition(status, "DataWarning")).toMatchObject({
      reason: "ConceptUnknown",
      message: expect.stringMatching(/^spec\.gates\[1\]\.concept: .*defct.*name one of cat, dog/),
    });
    const right = planned({ model: model({ spec: { gates: gates.slice(0, 1) } }) });
    expect(condition(right.status, "DataWarning")?.reason).not.toBe("ConceptUnknown");
  });

  test("a head needs 10 items of a concept, and no thousand", () => {
    expect(warned(asking(linear), report("a", { cat: 10, dog: 40 }))).toBeUndefined();
    const few = warned(asking(linear), report("a", { cat: 9, dog: 40 }));
    expect(few).toMatchObject({ reason: "FewItems", message: expect.stringContaining("cat (9)") });
    const chosen = asking(linear, {}, { concepts: ["dog"] });
    expect(warned(chosen, report("a", { cat: 9, dog: 40 }))).toBeUndefined();
  });

  test.each([resnet, arcface] as const)("%s: a thousand items are advised", (template) => {
    expect(warned(asking(template), report())).toBeUndefined();
    expect(warned(asking(template), report("a", { cat: 499, dog: 500 }))).toMatchObject({
      reason: "FewItems",
      message: expect.stringContaining("999"),
    });
  });

  test("what shows none of its concepts is background to a detector of one", () => {
    expect(warned(asking(retinanet), withBoxes(report("a", { cat: 1200 })))).toBeUndefined();
  });

  test("more concepts than a detector's batch: at most 256 are advised", () => {
    expect(warned(asking(retinanet), withBoxes(named(200)))).toMatchObject({
      reason: "BatchSmallerThanConcepts",
      message: expect.stringContaining("about 256"),
    });
  });

  test("concepts that no item is known not to show matter where each is learned by itself", () => {
    const warnings = [{ reason: "NoNegatives" as const, message: "train has none for cat" }];
    const data = { ...report(), warnings };
    expect(warned(asking(resnet), data)).toMatchObject({ reason: "NoNegatives" });
    expect(warned(asking(resnet, { logreg: false }), data)).toBeUndefined();
    expect(warned(asking(arcface), data)).toBeUndefined();
  });

  test("an embedder that finds less than its base did", () => {
    const measured = (recall_at_1: number) => {
      const values = { recall_at_1, baseline_recall_at_1: 0.6 };
      const metrics = { split: "test", values, items: 160 };
      return version({ status: { ...trained().status, metrics } });
    };
    const status = {
      observedGeneration: 1,
      readyVersion: "pets-v1",
      wantedVersion: "pets-v1",
      lastVersionNumber: 1,
    };
    const told = (recall: number) =>
      condition(
        planned({ model: model({ status }), versions: [measured(recall)] }).status,
        "DataWarning",
      );
    expect(told(0.6)).toBeUndefined();
    expect(told(0.59)).toMatchObject({
      status: "True",
      reason: "WorseThanBase",
      message: expect.stringMatching(/pets-v1.*0\.59.*0\.6/),
    });
  });
});

describe("detection_score_threshold", () => {
  const detector = (threshold: number | undefined) =>
    asking(retinanet, threshold === undefined ? {} : { detection_score_threshold: threshold });
  const data = readyDataset(withBoxes(report()));
  const made = planned({ model: detector(0.3), dataset: data }).effects[0];
  const inputs = made?.verb === "create" ? Object(made.object.spec) : {};

  test("is no input: changing it starts nothing, and it is shown", () => {
    const { model: _, number: __, ...spec } = inputs;
    expect(spec.hyperparameters).not.toHaveProperty("detection_score_threshold");
    const versions = [trained(1, spec)];
    for (const threshold of [undefined, 0, 0.9]) {
      const { status, effects } = planned({
        model: detector(threshold),
        dataset: data,
        versions,
        now: at(9999),
      });
      expect(effects).toEqual([]);
      expect(status.wantedVersion).toBe(version().metadata.name);
      expect(status.resolved?.hyperparameters.detection_score_threshold).toEqual(
        threshold === undefined
          ? { value: 0.3, source: "default" }
          : { value: threshold, source: "given" },
      );
    }
  });
});
