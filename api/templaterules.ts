// The rules of a DeepModel that depend on its template: which hyperparameters it has and how far they go, and where its
// weights may begin.

import { type BaseName, baseNames } from "./bases.ts";
import { BaseSpec, DeepModelSpec } from "./deepmodel.ts";
import { Hyperparameters, hasHyperparameter, typedHyperparameters } from "./hyperparameters.ts";
import { type Rule, ruleOn } from "./rule.ts";
import { templateTypes } from "./template.ts";
import { newestRevision, newestTemplate, type TemplateName, templateNames } from "./templates.ts";

/** What these rules speak of. */
const Trained = DeepModelSpec.pick({
  template: true,
  templateRevision: true,
  hyperparameters: true,
  base: true,
});

/**
 * A rule on `spec` would lock a stored object out of every change, `suspend` among them, once it is tightened. So it
 * is judged only when what it speaks of has changed; the planner judges it again and says Accepted=False.
 */
const ratcheting = (field: "templateRevision" | "hyperparameters" | "base", rule: string): string =>
  `!has(self.${field}) || (oldSelf.hasValue() && oldSelf.value().template == self.template && ` +
  `has(oldSelf.value().${field}) && oldSelf.value().${field} == self.${field}) || ${rule}`;

/** A CEL expression for a value that depends on the template. */
const byTemplate = (value: (template: TemplateName) => string): string => {
  const [first, ...others] = templateNames;
  const otherwise = value(first);
  const groups = Map.groupBy(
    others.filter((name) => value(name) !== otherwise),
    value,
  );
  return [...groups].reduce(
    (rest, [cel, names]) =>
      `(self.template in [${names.map(quoted).join(", ")}] ? ${cel} : ${rest})`,
    otherwise,
  );
};
const quoted = (text: string): string => `'${text}'`;
const numberByTemplate = (value: (template: TemplateName) => number): string =>
  byTemplate((template) => `${value(template)}`);

const defaultEpochs = (template: TemplateName) =>
  newestTemplate(template).pretrained.hyperparameters.num_epochs;
const writtenEpochs = `(has(self.hyperparameters.num_epochs) ? self.hyperparameters.num_epochs : ${numberByTemplate(defaultEpochs)})`;

const distinct = (values: readonly (string | number)[]): string =>
  [...new Set(values)].join(" or ");

const atMostNumEpochs = (name: "init_epochs" | "test_freq"): Rule =>
  ruleOn(Trained, "spec", {
    rule: ratcheting(
      "hyperparameters",
      `!has(self.hyperparameters.${name}) || self.hyperparameters.${name} <= ${writtenEpochs}`,
    ),
    holds: ({ template, hyperparameters: given }) =>
      given?.[name] === undefined || given[name] <= (given.num_epochs ?? defaultEpochs(template)),
    optionalOldSelf: true,
    fieldPath: `.hyperparameters.${name}`,
    reason: "FieldValueInvalid",
    message: `${name} must be at most num_epochs; where num_epochs is not written, the template's default (${distinct(templateNames.map(defaultEpochs))}) counts`,
  });

/** The API server knows the type by the part of the template's name before the slash. */
const onlyForItsTypes = typedHyperparameters.map((name): Rule => {
  const types = templateTypes.filter((type) => hasHyperparameter(type, name));
  return ruleOn(Trained, "spec", {
    rule: ratcheting(
      "hyperparameters",
      `!has(self.hyperparameters.${name}) || ${types.map((type) => `self.template.startsWith('${type}/')`).join(" || ")}`,
    ),
    holds: ({ template, hyperparameters: given }) =>
      given?.[name] === undefined || hasHyperparameter(newestTemplate(template).type, name),
    optionalOldSelf: true,
    fieldPath: `.hyperparameters.${name}`,
    reason: "FieldValueForbidden",
    message: `${name} is a hyperparameter of ${types.join(", ")} only; remove it`,
  });
});

const oneLearningRate =
  "write at most one of lrate, per_item_lrate and per_128_lrate: they are spellings of one value";

const learningRates: readonly Rule[] = [
  ruleOn(Hyperparameters, "spec.hyperparameters", {
    rule: "!has(self.per_item_lrate) || !has(self.lrate)",
    holds: (self) => self.per_item_lrate === undefined || self.lrate === undefined,
    fieldPath: ".per_item_lrate",
    reason: "FieldValueForbidden",
    message: oneLearningRate,
  }),
  ruleOn(Hyperparameters, "spec.hyperparameters", {
    rule: "!has(self.per_128_lrate) || !(has(self.lrate) || has(self.per_item_lrate))",
    holds: (self) =>
      self.per_128_lrate === undefined ||
      (self.lrate === undefined && self.per_item_lrate === undefined),
    fieldPath: ".per_128_lrate",
    reason: "FieldValueForbidden",
    message: oneLearningRate,
  }),
];

/** The rate would drop at no epoch: what is written beside would do nothing. */
const nothingBesideCosine = (["init_epochs", "step_epochs", "lrate_decay"] as const).map(
  (name): Rule =>
    ruleOn(Hyperparameters, "spec.hyperparameters", {
      rule: `!has(self.${name}) || !has(self.lrate_schedule) || self.lrate_schedule != 'cosine'`,
      holds: (self) => self[name] === undefined || self.lrate_schedule !== "cosine",
      fieldPath: `.${name}`,
      reason: "FieldValueForbidden",
      message: `${name} does nothing where lrate_schedule is cosine: the rate falls at every step; remove one of the two`,
    }),
);

const labelSmoothing = ruleOn(Hyperparameters, "spec.hyperparameters", {
  rule: "!has(self.label_smoothing) || self.label_smoothing == 0.0 || (has(self.logreg) && !self.logreg)",
  holds: (self) => (self.label_smoothing ?? 0) === 0 || self.logreg === false,
  fieldPath: ".label_smoothing",
  reason: "FieldValueForbidden",
  message:
    "label_smoothing is of a softmax, in which an image shows exactly one concept: set logreg to false, or remove it",
});

/** Templates without image_size are refused it by another rule. */
const anySize = { min: 32, max: 1024, step: 16 };
const sizesOf = (template: TemplateName) => newestTemplate(template).imageSizes ?? anySize;
const fitsSizes = (size: number, { min, max, step }: typeof anySize): boolean =>
  size >= min && size <= max && size % step === 0;

/** In words, the templates of equal sizes together. */
const sizesInWords = [
  ...Map.groupBy(
    templateNames.filter((name) => newestTemplate(name).imageSizes !== undefined),
    (name) => {
      const { min, max, step } = sizesOf(name);
      return `${min} to ${max} in steps of ${step}`;
    },
  ),
]
  .map(([words, names]) => `${words} for ${names.map((name) => name.split("/")[1]).join(", ")}`)
  .join("; ");

const maxBatchSize = (template: TemplateName) => newestTemplate(template).maxBatchSize;

const ranges: readonly Rule[] = [
  ruleOn(Trained, "spec", {
    rule: ratcheting(
      "hyperparameters",
      `!has(self.hyperparameters.image_size) || (self.hyperparameters.image_size >= ${numberByTemplate((name) => sizesOf(name).min)} && ` +
        `self.hyperparameters.image_size <= ${numberByTemplate((name) => sizesOf(name).max)} && ` +
        `self.hyperparameters.image_size % ${numberByTemplate((name) => sizesOf(name).step)} == 0)`,
    ),
    holds: ({ template, hyperparameters: given }) =>
      given?.image_size === undefined || fitsSizes(given.image_size, sizesOf(template)),
    optionalOldSelf: true,
    fieldPath: ".hyperparameters.image_size",
    reason: "FieldValueInvalid",
    message: `image_size must be one that the architecture can take: ${sizesInWords}`,
  }),
  ruleOn(Trained, "spec", {
    rule: ratcheting(
      "hyperparameters",
      `!has(self.hyperparameters.batch_size) || self.hyperparameters.batch_size <= ${numberByTemplate(maxBatchSize)}`,
    ),
    holds: ({ template, hyperparameters: given }) =>
      given?.batch_size === undefined || given.batch_size <= maxBatchSize(template),
    optionalOldSelf: true,
    fieldPath: ".hyperparameters.batch_size",
    reason: "FieldValueInvalid",
    message: "batch_size must be at most 1024, and at most 256 for detectors",
  }),
];

const basesOf = (template: TemplateName): readonly BaseName[] => newestTemplate(template).bases;

const basesInWords = baseNames
  .map((base) => {
    const taking = templateNames.filter((name) => basesOf(name).includes(base));
    return `${base} for ${taking.map((name) => name.split("/")[1]).join(", ")}`;
  })
  .join("; ");

const isOnGivenBase = (template: TemplateName): boolean =>
  newestTemplate(template).backbone === undefined;

const bases: readonly Rule[] = [
  ruleOn(BaseSpec, "spec.base", {
    rule: "[has(self.name), has(self.http), has(self.modelRef)].filter(given, given).size() == 1",
    holds: ({ name, http, modelRef }) =>
      [name, http, modelRef].filter((given) => given !== undefined).length === 1,
    reason: "FieldValueInvalid",
    message: "set exactly one of name, http and modelRef",
  }),
  ruleOn(Trained, "spec", {
    rule: ratcheting(
      "base",
      `!has(self.base.name) || self.base.name in ${byTemplate((name) => `[${basesOf(name).map(quoted).join(", ")}]`)}`,
    ),
    holds: ({ template, base }) =>
      base?.name === undefined || basesOf(template).includes(base.name),
    optionalOldSelf: true,
    fieldPath: ".base.name",
    reason: "FieldValueInvalid",
    message: `name must be a base that the template can begin with: ${basesInWords}`,
  }),
  ruleOn(Trained, "spec", {
    rule: ratcheting(
      "base",
      `!has(self.base.http) || !(self.template in [${templateNames.filter(isOnGivenBase).map(quoted).join(", ")}])`,
    ),
    holds: ({ template, base }) => base?.http === undefined || !isOnGivenBase(template),
    optionalOldSelf: true,
    fieldPath: ".base.http",
    reason: "FieldValueForbidden",
    message:
      "http is not for context-based classifiers: a file of weights does not tell its architecture; train a visual-classifier or visual-embedder on it, and name that in modelRef",
  }),
];

const revisionsInWords = [...Map.groupBy(templateNames, newestRevision)]
  .map(([revision, names]) => `1 to ${revision} for ${names.join(", ")}`)
  .join("; ");

export const templateRules: readonly Rule[] = [
  ruleOn(Trained, "spec", {
    rule: ratcheting(
      "templateRevision",
      `self.templateRevision <= ${numberByTemplate(newestRevision)}`,
    ),
    holds: ({ template, templateRevision: revision }) =>
      revision === undefined || revision <= newestRevision(template),
    optionalOldSelf: true,
    fieldPath: ".templateRevision",
    reason: "FieldValueInvalid",
    message: `templateRevision must be a revision that exists: ${revisionsInWords}`,
  }),
  ...learningRates,
  ...nothingBesideCosine,
  labelSmoothing,
  ...onlyForItsTypes,
  ...ranges,
  atMostNumEpochs("init_epochs"),
  atMostNumEpochs("test_freq"),
  ...bases,
];
