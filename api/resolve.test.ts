import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EffectiveHyperparameters, Hyperparameters } from "./hyperparameters.ts";
import { defaultInitEpochs, defaultStepEpochs, resolveHyperparameters } from "./resolve.ts";
import { newestRevision, templateNames, templateRevision } from "./templates.ts";

const revisionOf = (template: (typeof templateNames)[number], revision = 1) => {
  const found = templateRevision(template, revision);
  if (found === undefined) throw new Error(`No revision ${revision} of ${template}`);
  return found;
};
const lite = revisionOf("visual-classifier/efficientnet-lite0");
const resnet = revisionOf("visual-classifier/resnet18");

describe("the catalogue", () => {
  it("knows its newest revisions and no other", () => {
    for (const name of templateNames) {
      expect(templateRevision(name, newestRevision(name))).toBeDefined();
      expect(templateRevision(name, newestRevision(name) + 1)).toBeUndefined();
      expect(templateRevision(name, 0)).toBeUndefined();
    }
  });

  it("keeps what revision 1 was released with", () => {
    const classifier = {
      average_horizontal_flips: true,
      batch_size: 64,
      image_size: 224,
      logreg: true,
      num_epochs: 65,
      num_items_per_epoch: 0,
      test_freq: 1,
      seed: 0,
    };
    expect({ ...lite, base: lite.base.id }).toEqual({
      base: "efficientnet-lite0",
      optimizer: "SGD",
      per_item_lrate: 7.8125e-5,
      minImageSize: 64,
      defaults: { ...classifier, base_gradient_multiplier: 0.1 },
    });
    expect(resnet).toEqual({
      base: { id: "none" },
      optimizer: "SGD",
      per_item_lrate: 7.8125e-4,
      minImageSize: 32,
      defaults: { ...classifier, base_gradient_multiplier: 1 },
    });
  });
});

describe("resolved hyperparameters", () => {
  it("are the template's where nothing is written", () => {
    const { effective, origins, seed, dropEpochs, ...steps } = resolveHyperparameters(lite);
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
    expect(new Set(Object.values(origins).map(({ source }) => source))).toEqual(
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
    const { origins, effective } = resolveHyperparameters(resnet, given);
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
    const { effective } = resolveHyperparameters(resnet, { num_epochs });
    expect([effective.init_epochs, effective.step_epochs]).toEqual([init, step]);
    expect([defaultInitEpochs(num_epochs), defaultStepEpochs(num_epochs)]).toEqual([init, step]);
  });

  it("drops before the last epoch only, and lists the first 20", () => {
    expect(resolveHyperparameters(resnet, { num_epochs: 3, init_epochs: 3 }).dropEpochs).toEqual(
      [],
    );
    expect(
      resolveHyperparameters(resnet, { num_epochs: 100, init_epochs: 1, step_epochs: 1 })
        .dropEpochs,
    ).toHaveLength(20);
  });

  it("rounds an epoch up to whole batches", () => {
    const given = { batch_size: 64, num_epochs: 10 };
    expect(resolveHyperparameters(resnet, given, 129)).toMatchObject({
      stepsPerEpoch: 3,
      totalSteps: 30,
    });
    expect(
      resolveHyperparameters(resnet, { ...given, num_items_per_epoch: 64 }, 129),
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
      image_size: optional(fc.integer({ min: 1, max: 32 }).map((n) => n * 32)),
      init_epochs: epochs,
      step_epochs: epochs,
      logreg: optional(fc.boolean()),
      lrate: rate,
      per_item_lrate: rate,
      per_128_lrate: rate,
      num_epochs: epochs,
      num_items_per_epoch: optional(fc.integer({ min: 0, max: 1_000_000_000 })),
      test_freq: epochs,
      seed: optional(fc.integer({ min: 0, max: 2 ** 31 - 1 })),
    });
    fc.assert(
      fc.property(written, fc.constantFrom(lite, resnet), (given, revision) => {
        const { effective } = resolveHyperparameters(revision, Hyperparameters.parse(given));
        expect(EffectiveHyperparameters.parse(effective)).toEqual(effective);
      }),
    );
  });
});
