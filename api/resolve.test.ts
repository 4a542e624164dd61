import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  defaultsOfAll,
  EffectiveHyperparameters,
  Hyperparameters,
  hasHyperparameter,
  typedHyperparameters,
  typesWith,
} from "./hyperparameters.ts";
import { defaultInitEpochs, defaultStepEpochs, resolveHyperparameters } from "./resolve.ts";
import { templateTypes } from "./template.ts";
import { newestRevision, newestTemplate, templateNames, templateRevision } from "./templates.ts";

const revisionOf = (template: (typeof templateNames)[number], revision = 1) => {
  const found = templateRevision(template, revision);
  if (found === undefined) throw new Error(`No revision ${revision} of ${template}`);
  return found;
};
const lite = revisionOf("visual-classifier/efficientnet-lite0");
const resnet = revisionOf("visual-classifier/resnet18");
const pretrained = { isPretrained: true };
const atRandom = { isPretrained: false };

describe("the catalogue", () => {
  it("knows its newest revisions and no other", () => {
    for (const name of templateNames) {
      expect(templateRevision(name, newestRevision(name))).toBeDefined();
      expect(templateRevision(name, newestRevision(name) + 1)).toBeUndefined();
      expect(templateRevision(name, 0)).toBeUndefined();
    }
  });

  const classifier = {
    average_horizontal_flips: true,
    batch_size: 64,
    image_size: 224,
    logreg: true,
    lrate_schedule: "step",
    num_epochs: 65,
    num_items_per_epoch: 0,
    test_freq: 1,
    weight_decay: 1e-4,
    seed: 0,
  };
  const multiplied = (base_gradient_multiplier: number) => ({
    ...classifier,
    base_gradient_multiplier,
  });
  const perItem = (value: number) => ({ spelling: "per_item_lrate", value });

  it("keeps what revision 1 was released with", () => {
    expect(lite).toEqual({
      type: "visual-classifier",
      backbone: "efficientnet-lite0",
      bases: ["efficientnet-lite0", "none"],
      imageSizes: { min: 64, max: 1024, step: 32 },
      maxBatchSize: 1024,
      memory: "6Gi",
      pretrained: { optimizer: "SGD", rate: perItem(7.8125e-5), hyperparameters: multiplied(0.1) },
      scratch: { optimizer: "SGD", rate: perItem(7.8125e-5), hyperparameters: multiplied(1) },
    });
    expect(resnet).toEqual({
      type: "visual-classifier",
      backbone: "resnet18",
      bases: ["none"],
      imageSizes: { min: 32, max: 1024, step: 32 },
      maxBatchSize: 1024,
      memory: "4Gi",
      pretrained: { optimizer: "SGD", rate: perItem(7.8125e-5), hyperparameters: multiplied(0.1) },
      scratch: { optimizer: "SGD", rate: perItem(7.8125e-4), hyperparameters: multiplied(1) },
    });
  });

  it("gives each type the hyperparameters that are its own, with defaults in their ranges", () => {
    for (const name of templateNames) {
      const revision = newestTemplate(name);
      expect(name.startsWith(`${revision.type}/`)).toBe(true);
      for (const { hyperparameters } of [revision.pretrained, revision.scratch]) {
        expect(Hyperparameters.parse(hyperparameters)).toEqual(hyperparameters);
        // Of the same value for all templates, or following num_epochs.
        const elsewhere = ["init_epochs", "step_epochs", ...Object.keys(defaultsOfAll)];
        expect(typedHyperparameters.filter((key) => key in hyperparameters)).toEqual(
          typedHyperparameters.filter(
            (key) => hasHyperparameter(revision.type, key) && !elsewhere.includes(key),
          ),
        );
        expect(hyperparameters.batch_size).toBeLessThanOrEqual(revision.maxBatchSize);
      }
      expect(revision.pretrained.hyperparameters.num_epochs).toBe(
        revision.scratch.hyperparameters.num_epochs,
      );
    }
    expect(new Set(templateNames.map((name) => newestTemplate(name).type))).toEqual(
      new Set(templateTypes),
    );
    expect([...typedHyperparameters].sort()).toEqual(Object.keys(typesWith).sort());
  });
});

describe("resolved hyperparameters", () => {
  it("are the template's where nothing is written", () => {
    const { effective, origins, seed, dropEpochs, ...steps } = resolveHyperparameters(
      lite,
      {},
      pretrained,
    );
    expect(effective).toEqual({
      average_horizontal_flips: true,
      base_gradient_multiplier: 0.1,
      batch_size: 64,
      image_size: 224,
      init_epochs: 25,
      step_epochs: 7,
      logreg: true,
      lrate: 0.005,
      num_epochs: 65,
      num_items_per_epoch: 0,
      test_freq: 1,
    });
    expect(seed).toBe(0);
    expect(dropEpochs).toEqual([25, 32, 39, 46, 53, 60]);
    expect(new Set(Object.values(origins).map((origin) => origin?.source))).toEqual(
      new Set(["default"]),
    );
    expect(steps).toEqual({ optimizer: "SGD" });
  });

  it.each([
    ["lrate itself", { lrate: 0.02, batch_size: 32 }, 0.02, "given"],
    ["per_item_lrate times the batch", { per_item_lrate: 0.001, batch_size: 32 }, 0.032, "given"],
    ["per_item_lrate times the default batch", { per_item_lrate: 0.001 }, 0.064, "given"],
    ["per_128_lrate for the batch", { per_128_lrate: 0.1, batch_size: 32 }, 0.025, "given"],
    ["the default for another batch", { batch_size: 128 }, 0.1, "default"],
    ["no digits beyond the twelfth", { per_item_lrate: 0.1, batch_size: 3 }, 0.3, "given"],
    ["never zero", { per_128_lrate: Number.MIN_VALUE, batch_size: 1 }, Number.MIN_VALUE, "given"],
  ])("learning rate: %s", (_, given, value, source) => {
    const { origins, effective } = resolveHyperparameters(resnet, given, atRandom);
    expect(origins.lrate).toEqual({ value, source });
    expect(effective.lrate).toBe(value);
  });

  it.each([
    [1, 1, 1],
    [2, 1, 1],
    [10, 4, 1],
    [65, 25, 7],
    [1000, 385, 108],
  ])("%i epochs: first drop after %i, later ones every %i", (num_epochs, init, step) => {
    const { effective } = resolveHyperparameters(resnet, { num_epochs }, atRandom);
    expect([effective.init_epochs, effective.step_epochs]).toEqual([init, step]);
    expect([defaultInitEpochs(num_epochs), defaultStepEpochs(num_epochs)]).toEqual([init, step]);
  });

  it("drops before the last epoch only, and lists the first 20", () => {
    expect(
      resolveHyperparameters(resnet, { num_epochs: 3, init_epochs: 3 }, atRandom).dropEpochs,
    ).toEqual([]);
    expect(
      resolveHyperparameters(resnet, { num_epochs: 100, init_epochs: 1, step_epochs: 1 }, atRandom)
        .dropEpochs,
    ).toHaveLength(20);
  });

  it("are told beside the first versions' only where they are not the template's", () => {
    const resolve = (given: Hyperparameters) => resolveHyperparameters(lite, given, pretrained);
    const unwritten = resolve({});
    const written = resolve({
      early_stop_epochs: 0,
      label_smoothing: 0,
      lrate_decay: 0.3,
      lrate_schedule: "step",
      weight_decay: 1e-4,
    });
    expect(written.effective).toEqual(unwritten.effective);
    expect(written.origins).toEqual({
      ...unwritten.origins,
      early_stop_epochs: { value: 0, source: "given" },
      label_smoothing: { value: 0, source: "given" },
      lrate_decay: { value: 0.3, source: "given" },
      lrate_schedule: { value: "step", source: "given" },
      weight_decay: { value: 1e-4, source: "given" },
    });
    const changes = {
      early_stop_epochs: 3,
      label_smoothing: 0.1,
      lrate_decay: 0.1,
      logreg: false,
      weight_decay: 0,
    };
    expect(resolve(changes).effective).toEqual({ ...unwritten.effective, ...changes });
  });

  it("of an embedder are told where they are not those of all", () => {
    const embedder = newestTemplate("visual-embedder/arcface-efficientnet-lite0");
    const resolve = (given: Hyperparameters) => resolveHyperparameters(embedder, given, pretrained);
    const same = { angular_margin: 0.2, angular_scale: 16, embeddings_size: 256 };
    const { effective, origins } = resolve({});
    expect(resolve(same).effective).toEqual(effective);
    expect(origins).toMatchObject({
      angular_margin: { value: 0.2, source: "default" },
      angular_scale: { value: 16, source: "default" },
      embeddings_size: { value: 256, source: "default" },
    });
    const others = { angular_margin: 0, angular_scale: 64, embeddings_size: 64 };
    expect(resolve(others).effective).toEqual({ ...effective, ...others });
  });

  it("have no drops where the rate falls with a cosine", () => {
    const resolve = (given: Hyperparameters) => resolveHyperparameters(lite, given, pretrained);
    const { effective, origins, dropEpochs } = resolve({ lrate_schedule: "cosine" });
    const { init_epochs, step_epochs, ...others } = resolve({}).effective;
    expect(effective).toEqual({ ...others, lrate_schedule: "cosine" });
    expect(origins).not.toHaveProperty("init_epochs");
    expect(origins).not.toHaveProperty("step_epochs");
    expect(origins).not.toHaveProperty("lrate_decay");
    expect(origins.lrate_schedule).toEqual({ value: "cosine", source: "given" });
    expect(dropEpochs).toEqual([]);
    expect([init_epochs, step_epochs]).toEqual([25, 7]);
  });

  it.each(
    templateNames.flatMap((name) =>
      [true, false].map((isPretrained) => [name, isPretrained] as const),
    ),
  )("%s, pretrained %s: the template's own weight_decay is not told", (name, isPretrained) => {
    const revision = newestTemplate(name);
    const { weight_decay } = revision[isPretrained ? "pretrained" : "scratch"].hyperparameters;
    const resolve = (given: Hyperparameters) =>
      resolveHyperparameters(revision, given, { isPretrained }).effective;
    expect(resolve({ weight_decay })).toEqual(resolve({}));
    expect(resolve({ weight_decay: 0.3 })).toEqual({ ...resolve({}), weight_decay: 0.3 });
  });

  it("rounds an epoch up to whole batches", () => {
    const given = { batch_size: 64, num_epochs: 10 };
    expect(resolveHyperparameters(resnet, given, { ...atRandom, trainItems: 129 })).toMatchObject({
      stepsPerEpoch: 3,
      totalSteps: 30,
    });
    expect(
      resolveHyperparameters(
        resnet,
        { ...given, num_items_per_epoch: 64 },
        { ...atRandom, trainItems: 129 },
      ),
    ).toMatchObject({ stepsPerEpoch: 1, totalSteps: 10 });
  });

  it("fit the run file whatever the schema lets through", () => {
    const optional = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
    const rate = optional(fc.double({ min: Number.MIN_VALUE, max: 1000, noNaN: true }));
    const epochs = optional(fc.integer({ min: 1, max: 1000 }));
    const written = fc.record({
      average_horizontal_flips: optional(fc.boolean()),
      base_gradient_multiplier: optional(fc.double({ min: 0, max: 1, noNaN: true })),
      batch_size: optional(fc.integer({ min: 1, max: 1024 })),
      detection_score_threshold: optional(fc.double({ min: 0, max: 1, noNaN: true })),
      image_size: optional(fc.integer({ min: 2, max: 64 }).map((n) => n * 16)),
      init_epochs: epochs,
      step_epochs: epochs,
      logreg: optional(fc.boolean()),
      lrate: rate,
      per_item_lrate: rate,
      per_128_lrate: rate,
      num_epochs: epochs,
      num_items_per_epoch: optional(fc.integer({ min: 0, max: 1_000_000_000 })),
      test_freq: epochs,
      use_perclass_regression: optional(fc.boolean()),
      early_stop_epochs: optional(fc.integer({ min: 0, max: 1000 })),
      lrate_decay: optional(fc.double({ min: 0, minExcluded: true, max: 1, noNaN: true })),
      label_smoothing: optional(fc.double({ min: 0, max: 0.9, noNaN: true })),
      embeddings_size: optional(fc.integer({ min: 8, max: 2048 })),
      angular_margin: optional(fc.double({ min: 0, max: 1.5, noNaN: true })),
      angular_scale: optional(fc.double({ min: 1, max: 256, noNaN: true })),
      lrate_schedule: optional(fc.constantFrom("step", "cosine")),
      weight_decay: optional(fc.double({ min: 0, max: 1, noNaN: true })),
      seed: optional(fc.integer({ min: 0, max: 2 ** 31 - 1 })),
    });
    const revisions = fc.constantFrom(...templateNames.map(newestTemplate));
    fc.assert(
      fc.property(written, revisions, fc.boolean(), (given, revision, isPretrained) => {
        const { effective } = resolveHyperparameters(revision, Hyperparameters.parse(given), {
          isPretrained,
        });
        expect(EffectiveHyperparameters.parse(effective)).toEqual(effective);
      }),
    );
  });

  it("hold exactly what the template's type has", () => {
    const always = ["batch_size", "lrate", "num_epochs"];
    const beside = ["detection_score_threshold", "lrate_schedule", ...Object.keys(defaultsOfAll)];
    for (const name of templateNames) {
      const revision = newestTemplate(name);
      const everything = Hyperparameters.parse({
        detection_score_threshold: 0.5,
        use_perclass_regression: true,
        logreg: false,
        image_size: 320,
      });
      for (const given of [{}, everything]) {
        const resolved = resolveHyperparameters(revision, given, pretrained);
        const own = typedHyperparameters.filter((key) => hasHyperparameter(revision.type, key));
        const told = own.filter((key) => !beside.includes(key));
        expect(Object.keys(resolved.effective).sort()).toEqual([...always, ...told].sort());
        expect(Object.keys(resolved.origins).sort()).toEqual(
          [...always, "seed", "weight_decay", ...own].sort(),
        );
        expect(resolved.detectionScoreThreshold !== undefined).toBe(
          revision.type === "visual-detector",
        );
      }
    }
  });

  it.each([
    ["visual-classifier/resnet50", true, { lrate: 0.005, base_gradient_multiplier: 1 }],
    ["visual-classifier/resnet50", false, { lrate: 0.05, base_gradient_multiplier: 1 }],
    ["visual-classifier/vit-small", true, { lrate: 1e-3, base_gradient_multiplier: 0.05 }],
    ["visual-detector/retinanet-efficientnet-lite0", true, { lrate: 1.5e-3, batch_size: 16 }],
    ["visual-detector/retinanet-resnet50", false, { lrate: 0.01, image_size: 512 }],
    ["visual-detector/retinanet-resnet50", true, { use_perclass_regression: false }],
    ["visual-detector/fasterrcnn-resnet50", false, { lrate: 0.02, use_perclass_regression: true }],
    ["visual-detector/fasterrcnn-resnet50", true, { base_gradient_multiplier: 1, batch_size: 16 }],
    ["visual-embedder/arcface-resnet50", false, { num_epochs: 30, init_epochs: 12 }],
    ["context-based-classifier/linear", true, { lrate: 0.1, num_epochs: 100, logreg: true }],
  ] as const)("%s, pretrained %s: the default table", (name, isPretrained, want) => {
    const { effective } = resolveHyperparameters(newestTemplate(name), {}, { isPretrained });
    expect(effective).toMatchObject(want);
  });

  it("a context-based classifier takes as many items as there are, and drops nowhere", () => {
    const linear = newestTemplate("context-based-classifier/linear");
    const resolve = (trainItems: number) =>
      resolveHyperparameters(linear, { num_epochs: 5 }, { ...pretrained, trainItems });
    expect(resolve(10)).toMatchObject({ stepsPerEpoch: 1, totalSteps: 5, dropEpochs: [] });
    expect(resolve(65)).toMatchObject({ stepsPerEpoch: 2, totalSteps: 10 });
  });
});
