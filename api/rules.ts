// Rules that a schema of ranges and patterns cannot say: each once in CEL, for the API server, and once as a
// predicate, with the same verdict (the table in test/contract holds both to it).

import { z } from "zod";
import { DatasetSource, PvcSource, Splits } from "./dataset.ts";
import { DeepModelSpec, Gate, Toleration } from "./deepmodel.ts";
import { Hyperparameters } from "./hyperparameters.ts";
import type { ValidationRule } from "./structural.ts";
import { newestRevision, type TemplateName, templateNames, templateRevision } from "./templates.ts";

export interface Judgement {
  /** Where it sits: `spec`, `spec.source`, `spec.gates[]`. */
  at: string;
  /** The field below that it names, `.max`; absent: the one where it sits. */
  fieldPath?: string;
  /** Judges a value that was found there; a value that does not fit its schema is not judged. */
  holds: (self: unknown) => boolean;
  message: string;
}

/** What the API server judges. */
export type Rule = Judgement & ValidationRule;

const judging =
  <T>(schema: z.ZodType<T>, holds: (self: T) => boolean) =>
  (self: unknown): boolean => {
    const parsed = schema.safeParse(self);
    return !parsed.success || holds(parsed.data);
  };

const ruleOn = <T>(
  schema: z.ZodType<T>,
  at: string,
  rule: ValidationRule & { holds: (self: T) => boolean },
): Rule => ({ ...rule, at, holds: judging(schema, rule.holds) });

/**
 * A rule on `spec` would lock a stored object out of every change, `suspend` among them, once it is tightened. So it
 * is judged only when what it speaks of has changed; the planner judges it again and says Accepted=False.
 */
const ratcheting = (field: "templateRevision" | "hyperparameters", rule: string): string =>
  `!has(self.${field}) || (oldSelf.hasValue() && oldSelf.value().template == self.template && ` +
  `has(oldSelf.value().${field}) && oldSelf.value().${field} == self.${field}) || ${rule}`;

/** The newest revision of a template. The API server cannot know which revision a model without `templateRevision` keeps. */
const newest = (template: TemplateName) => {
  const revision = templateRevision(template, newestRevision(template));
  if (revision === undefined) throw new Error(`${template} has no revision`);
  return revision;
};

/** A CEL expression for a number that depends on the template. */
const byTemplate = (value: (template: TemplateName) => number): string => {
  const [first, ...others] = templateNames;
  const differing = others.filter((name) => value(name) !== value(first));
  return differing.reduce(
    (otherwise, name) => `(self.template == '${name}' ? ${value(name)} : ${otherwise})`,
    `${value(first)}`,
  );
};

/** What rules on a DeepModel's spec speak of. */
const Trained = DeepModelSpec.pick({
  template: true,
  templateRevision: true,
  hyperparameters: true,
});

const defaultEpochs = (template: TemplateName) => newest(template).defaults.num_epochs;
const minImageSize = (template: TemplateName) => newest(template).minImageSize;
const writtenEpochs = `(has(self.hyperparameters.num_epochs) ? self.hyperparameters.num_epochs : ${byTemplate(defaultEpochs)})`;

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
    message: `${name} must be at most num_epochs; where num_epochs is not written, the template's default (${[...new Set(templateNames.map(defaultEpochs))].join(" or ")}) counts`,
  });

const oneLearningRate =
  "write at most one of lrate, per_item_lrate and per_128_lrate: they are spellings of one value";

const smallImages = templateNames.filter((name) => minImageSize(name) < 64);

/** Children are named after their parents (`<model>-v<N>-a<K>`), and a name of a Job has at most 63 characters. */
const nameRule = (maxLength: number): Rule =>
  ruleOn(z.object({ metadata: z.object({ name: z.string() }) }), "", {
    rule: `self.metadata.name.size() <= ${maxLength} && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')`,
    holds: ({ metadata: { name } }) =>
      name.length <= maxLength && /^[a-z]([-a-z0-9]*[a-z0-9])?$/.test(name),
    fieldPath: ".metadata.name",
    reason: "FieldValueInvalid",
    message: `metadata.name must begin with a letter, have at most ${maxLength} characters, and consist of lower-case letters, digits and dashes`,
  });

/** OpenAPI counts characters; what an object may weigh is counted in bytes. */
const conceptBytes = ruleOn(z.string(), "spec.concepts[]", {
  rule: "bytes(self).size() <= 64",
  holds: (self) => Buffer.byteLength(self, "utf8") <= 64,
  reason: "FieldValueInvalid",
  message: "the name of a concept must have at most 64 bytes in UTF-8",
});

const labelKey =
  /^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?[/])?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const labelValue = /^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/;

export const deepModelRules: readonly Rule[] = [
  nameRule(40),
  ruleOn(Trained, "spec", {
    rule: ratcheting("templateRevision", `self.templateRevision <= ${byTemplate(newestRevision)}`),
    holds: ({ template, templateRevision: revision }) =>
      revision === undefined || revision <= newestRevision(template),
    optionalOldSelf: true,
    fieldPath: ".templateRevision",
    reason: "FieldValueInvalid",
    message: `templateRevision must be a revision that exists: ${templateNames.map((name) => `1 to ${newestRevision(name)} for ${name}`).join(", ")}`,
  }),
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
  ruleOn(Trained, "spec", {
    rule: ratcheting(
      "hyperparameters",
      `!has(self.hyperparameters.image_size) || self.hyperparameters.image_size >= ${byTemplate(minImageSize)}`,
    ),
    holds: ({ template, hyperparameters: given }) =>
      given?.image_size === undefined || given.image_size >= minImageSize(template),
    optionalOldSelf: true,
    fieldPath: ".hyperparameters.image_size",
    reason: "FieldValueInvalid",
    message: `image_size must be at least 64 (32 is allowed for ${smallImages.join(", ")})`,
  }),
  atMostNumEpochs("init_epochs"),
  atMostNumEpochs("test_freq"),
  conceptBytes,
  ruleOn(z.record(z.string(), z.string()), "spec.scheduling.nodeSelector", {
    rule: `self.all(key, key.size() <= 317 && key.matches(r'${labelKey.source}') && self[key].matches(r'${labelValue.source}'))`,
    holds: (self) =>
      Object.entries(self).every(
        ([key, value]) => key.length <= 317 && labelKey.test(key) && labelValue.test(value),
      ),
    reason: "FieldValueInvalid",
    message:
      "nodeSelector must map label keys, such as example.org/pool, to label values: letters, digits, dashes, underscores and dots, beginning and ending with a letter or digit",
  }),
  ruleOn(Toleration, "spec.scheduling.tolerations[]", {
    rule: "(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')",
    holds: (self) => (self.key ?? "") !== "" || self.operator === "Exists",
    fieldPath: ".operator",
    reason: "FieldValueInvalid",
    message: "operator must be Exists where key is empty",
  }),
  ruleOn(Toleration, "spec.scheduling.tolerations[]", {
    rule: "!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
    holds: (self) => self.operator !== "Exists" || (self.value ?? "") === "",
    fieldPath: ".value",
    reason: "FieldValueForbidden",
    message: "value must be empty where operator is Exists",
  }),
  ruleOn(Toleration, "spec.scheduling.tolerations[]", {
    rule: "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
    holds: (self) => self.tolerationSeconds === undefined || self.effect === "NoExecute",
    fieldPath: ".tolerationSeconds",
    reason: "FieldValueForbidden",
    message: "tolerationSeconds is allowed where effect is NoExecute only",
  }),
  ruleOn(Gate, "spec.gates[]", {
    rule: "has(self.min) || has(self.max)",
    holds: (self) => self.min !== undefined || self.max !== undefined,
    reason: "FieldValueRequired",
    message: "a gate needs min, max, or both",
  }),
  ruleOn(Gate, "spec.gates[]", {
    rule: "!has(self.min) || !has(self.max) || self.min <= self.max",
    holds: (self) => self.min === undefined || self.max === undefined || self.min <= self.max,
    fieldPath: ".max",
    reason: "FieldValueInvalid",
    message: "max must be at least min",
  }),
];

export const datasetRules: readonly Rule[] = [
  nameRule(40),
  ruleOn(DatasetSource, "spec.source", {
    rule: "has(self.http) != has(self.pvc)",
    holds: (self) => (self.http === undefined) !== (self.pvc === undefined),
    reason: "FieldValueInvalid",
    message: "set exactly one of http and pvc",
  }),
  ruleOn(PvcSource, "spec.source.pvc", {
    rule: "!has(self.path) || !self.path.matches('^/|//|(^|/)[.][.]?(/|$)')",
    holds: ({ path }) => path === undefined || !/^\/|\/\/|(^|\/)[.][.]?(\/|$)/.test(path),
    fieldPath: ".path",
    reason: "FieldValueInvalid",
    message: "path must be relative to the root of the claim, without empty, . and .. parts",
  }),
  ruleOn(Splits.shape.ratios.unwrap(), "spec.splits.ratios", {
    rule: "self.train + self.validation + self.test > 0.999999 && self.train + self.validation + self.test < 1.000001",
    holds: ({ train, validation, test }) => {
      const sum = train + validation + test;
      return sum > 0.999999 && sum < 1.000001;
    },
    reason: "FieldValueInvalid",
    message: "train, validation and test must add up to 1",
  }),
  conceptBytes,
];

/**
 * What only the operator judges (Accepted=False): pairs of 1,000 names are beyond what the API server lets a rule
 * cost, and `distinct()` is not in every release that we install on.
 */
export const operatorJudgements: readonly Judgement[] = [
  {
    at: "spec.concepts",
    holds: judging(z.array(z.string()), (self) => new Set(self).size === self.length),
    message: "every concept may be named once only",
  },
];

export const modelVersionRules: readonly Rule[] = [
  nameRule(52),
  {
    at: "spec",
    rule: "self == oldSelf",
    // A transition: there is nothing to hold one object alone to.
    holds: () => true,
    reason: "FieldValueForbidden",
    message: "the spec of a ModelVersion never changes: it is what was trained",
  },
];
