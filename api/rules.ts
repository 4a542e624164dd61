// Rules that a schema of ranges and patterns cannot say: each once in CEL, for the API server, and once as a
// predicate, with the same verdict (the table in test/contract holds both to it).

import { z } from "zod";
import { DatasetSource, DatasetSpec, PvcSource, Splits, takesFrames } from "./dataset.ts";
import { DeepModelSpec } from "./deepmodel.ts";
import { Gate, GatedMetricName, isOfConcept, isOverall } from "./gate.ts";
import { conceptMetricNames } from "./metrics.ts";
import { type Judgement, judging, type Rule, ruleOn } from "./rule.ts";
import { Scheduling, Toleration } from "./scheduling.ts";
import { templateRules } from "./templaterules.ts";

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

const quoted = (names: readonly string[]): string => names.map((name) => `'${name}'`).join(", ");
const needConcept = GatedMetricName.options.filter((name) => !isOverall(name));

export const deepModelRules: readonly Rule[] = [
  nameRule(40),
  ...templateRules,
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
  ruleOn(Scheduling, "spec.scheduling", {
    rule: "!has(self.workloadPriorityClassName) || has(self.queueName)",
    holds: (self) => self.workloadPriorityClassName === undefined || self.queueName !== undefined,
    fieldPath: ".workloadPriorityClassName",
    reason: "FieldValueForbidden",
    message: "workloadPriorityClassName is allowed where queueName is set only",
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
  ruleOn(Gate, "spec.gates[]", {
    rule: `!has(self.concept) || self.metric in [${quoted(conceptMetricNames)}]`,
    holds: (self) => self.concept === undefined || isOfConcept(self.metric),
    fieldPath: ".metric",
    reason: "FieldValueInvalid",
    message: `with concept, metric must be one of ${conceptMetricNames.join(", ")}`,
  }),
  ruleOn(Gate, "spec.gates[]", {
    rule: `has(self.concept) || !(self.metric in [${quoted(needConcept)}])`,
    holds: (self) => self.concept !== undefined || isOverall(self.metric),
    fieldPath: ".concept",
    reason: "FieldValueRequired",
    message: `concept must be set where metric is one of ${needConcept.join(", ")}`,
  }),
  ruleOn(DeepModelSpec.pick({ gates: true, concepts: true }), "spec", {
    rule:
      "!has(self.gates) || !has(self.concepts) || (oldSelf.hasValue() && " +
      "has(oldSelf.value().gates) && oldSelf.value().gates == self.gates && " +
      "has(oldSelf.value().concepts) && oldSelf.value().concepts == self.concepts) || " +
      "self.gates.all(gate, !has(gate.concept) || gate.concept in self.concepts)",
    holds: ({ gates, concepts }) =>
      concepts === undefined ||
      (gates ?? []).every(({ concept }) => concept === undefined || concepts.includes(concept)),
    optionalOldSelf: true,
    fieldPath: ".gates",
    reason: "FieldValueInvalid",
    message: "the concept of a gate must be one of spec.concepts",
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
  ruleOn(DatasetSpec.pick({ format: true, framesPerSecond: true }), "spec", {
    rule:
      "!has(self.framesPerSecond) || self.format == 'videoFolder' || self.format == 'auto' || (oldSelf.hasValue() && " +
      "oldSelf.value().format == self.format && has(oldSelf.value().framesPerSecond) && " +
      "oldSelf.value().framesPerSecond == self.framesPerSecond)",
    holds: ({ format, framesPerSecond }) => framesPerSecond === undefined || takesFrames(format),
    optionalOldSelf: true,
    fieldPath: ".framesPerSecond",
    reason: "FieldValueForbidden",
    message: "framesPerSecond is for the formats videoFolder and auto only",
  }),
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
