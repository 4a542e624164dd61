// The reference pages, made of what the API server is told: every field, its type, its bounds, and the rules.

import { type Kind, kindSchema } from "./crd.ts";
import { API_VERSION } from "./group.ts";
import { resolveHyperparameters } from "./resolve.ts";
import type { StructuralSchema } from "./structural.ts";
import { type TemplateType, templateTypes } from "./template.ts";
import { newestRevision, newestTemplate, templateNames } from "./templates.ts";

const bounds = (schema: StructuralSchema): string => {
  // Quantities: the rules below the table say it better.
  if (schema["x-kubernetes-int-or-string"] === true) return "";
  const { minimum, maximum, multipleOf, minItems, maxItems, maxLength, maxProperties } = schema;
  const most = maxItems ?? maxLength ?? maxProperties;
  const safe = maximum === Number.MAX_SAFE_INTEGER ? undefined : maximum;
  return [
    schema.enum === undefined ? "" : schema.enum.map((value) => `\`${value}\``).join(", "),
    minimum === undefined
      ? ""
      : `${schema.exclusiveMinimum === true ? "above" : "from"} ${minimum}`,
    safe === undefined ? "" : `to ${safe}`,
    multipleOf === undefined ? "" : `in steps of ${multipleOf}`,
    minItems === undefined ? "" : `at least ${minItems}`,
    most === undefined || schema.enum !== undefined ? "" : `at most ${most}`,
  ]
    .filter((part) => part !== "")
    .join(" ");
};

const typeName = (schema: StructuralSchema): string => {
  if (schema["x-kubernetes-int-or-string"] === true) return "string or integer";
  if (schema.type === "array") return `list of ${schema.items?.type ?? "values"}`;
  if (schema.additionalProperties !== undefined)
    return `map of ${schema.additionalProperties.type}`;
  return schema.type ?? "";
};

const rows = (schema: StructuralSchema, path: string): string[] => {
  const inner = schema.items ?? schema;
  const suffix = schema.items === undefined ? "" : "[]";
  return Object.entries(inner.properties ?? {}).flatMap(([name, member]) => {
    const field = `${path}${suffix}.${name}`;
    const required = inner.required?.includes(name) === true ? " **required**" : "";
    // The reasons are a list of their own; it would fill the page.
    const limits = name === "reason" ? "" : bounds(member);
    const cells = [
      `\`${field}\``,
      `${typeName(member)}${required}`,
      limits,
      member.description ?? "",
    ];
    return [
      `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`,
      ...rows(member, field),
    ];
  });
};

const table = (schema: StructuralSchema | undefined, path: string): string[] => [
  "| field | type | allowed | meaning |",
  "|---|---|---|---|",
  ...(schema === undefined ? [] : rows(schema, path)),
];

const messages = (schema: StructuralSchema): string[] => [
  ...(schema["x-kubernetes-validations"] ?? []).map(({ message }) => message),
  ...[
    ...Object.values(schema.properties ?? {}),
    ...[schema.items, schema.additionalProperties].filter((member) => member !== undefined),
  ].flatMap(messages),
];

/** The templates of a type, their bases and what they resolve to where nothing is written. */
const defaultsOf = (type: TemplateType): string[] => {
  const names = templateNames.filter((name) => newestTemplate(name).type === type);
  // A base that the template is given, and the random beginning, where both can be and differ.
  const columns = names.flatMap((name) => {
    const revision = newestTemplate(name);
    return [true, false].flatMap((isPretrained) => {
      if (revision.backbone === undefined && !isPretrained) return [];
      const resolved = resolveHyperparameters(revision, {}, { isPretrained });
      const { rate } = isPretrained ? revision.pretrained : revision.scratch;
      return [{ name, revision, isPretrained, rate, ...resolved }];
    });
  });
  const row = (head: string, cells: readonly (string | number | boolean)[]) =>
    `| ${[head, ...cells].join(" | ")} |`;
  const [first] = columns;
  const keys = Object.keys(first?.origins ?? {}).filter((key) => key !== "lrate");
  return [
    `### ${type}`,
    "",
    row(
      "",
      columns.map(({ name }) => `\`${name.split("/")[1]}\``),
    ),
    row(
      "---",
      columns.map(() => "---"),
    ),
    row(
      "weights begin",
      columns.map(({ isPretrained }) => (isPretrained ? "pretrained" : "at random")),
    ),
    row(
      "default base",
      columns.map(({ revision }) => revision.bases[0]),
    ),
    row(
      "newest revision",
      columns.map(({ name }) => newestRevision(name)),
    ),
    row(
      "optimiser",
      columns.map(({ optimizer }) => optimizer),
    ),
    row(
      "default learning rate",
      columns.map(({ rate: { spelling, value } }) => `\`${spelling}\` ${value}`),
    ),
    row(
      "`lrate`",
      columns.map(({ effective }) => effective.lrate),
    ),
    ...keys.map((key) =>
      row(
        `\`${key}\``,
        columns.map(
          ({ origins }) => Object.entries(origins).find(([name]) => name === key)?.[1]?.value ?? "",
        ),
      ),
    ),
    "",
  ];
};

const defaults = (): string[] => [
  "## Templates and their defaults",
  "",
  "A hyperparameter that is not in the table of a type is not one of its templates', and is refused there. The learning rate (lrate) is for the default batch_size; init_epochs and step_epochs are for the default num_epochs.",
  "",
  ...templateTypes.flatMap(defaultsOf),
];

/** The page of a kind, in Markdown. */
export const referencePage = (kind: Kind): string => {
  const schema = kindSchema(kind);
  return [
    `<!-- Generated by \`node api/generate.ts\` from api/. Do not edit. -->`,
    `# ${kind.kind}`,
    "",
    kind.description,
    "",
    `\`apiVersion: ${API_VERSION}\`, \`kind: ${kind.kind}\`; short name \`${kind.shortName}\`; \`kubectl explain ${kind.singular}\` says the same.`,
    "",
    "## spec",
    "",
    ...table(schema.properties?.spec, "spec"),
    "",
    "### Rules",
    "",
    ...[...new Set(messages(schema))].map((message) => `- ${message}`),
    "",
    ...(kind.kind === "DeepModel" ? defaults() : []),
    "## status",
    "",
    ...table(schema.properties?.status, "status"),
    "",
  ].join("\n");
};
