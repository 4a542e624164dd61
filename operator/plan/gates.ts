// Gates: policy over recorded metrics.

import type { DeepModel } from "../../api/deepmodel.ts";
import { type Gate, isOfConcept, isOverall } from "../../api/gate.ts";
import type { ModelVersion, ModelVersionStatus } from "../../api/modelversion.ts";
import type { TrainingRecord } from "../../api/record.ts";
import type { GatedConcept } from "../../api/run.ts";
import { plain } from "./display.ts";

/** Why a complete version does not pass; undefined where it does. What is not known does not pass. */
export const gateProblem = (
  gates: readonly Gate[] | undefined,
  version: ModelVersion,
): string | undefined => {
  for (const [index, gate] of (gates ?? []).entries()) {
    const { metric, concept, min, max } = gate;
    const field = `spec.gates[${index}]`;
    const value = recordedValue(gate, version);
    const measured = `${field}: ${concept === undefined ? metric : `${metric} of ${concept}`}`;
    if (value === undefined) return `${measured} ${whyUnknown(gate, version)}`;
    const is = `${measured} on ${version.status?.metrics?.split} is ${plain(value)}`;
    if (min !== undefined && value < min) {
      return `${is}, below min ${plain(min)}; train better, or lower the gate`;
    }
    if (max !== undefined && value > max) {
      return `${is}, above max ${plain(max)}; train better, or raise the gate`;
    }
  }
  return undefined;
};

/** As it was recorded. What was asked for is exact, and there whatever the status has room for. */
const recordedValue = ({ metric, concept }: Gate, { status }: ModelVersion): number | undefined => {
  if (concept === undefined) return isOverall(metric) ? status?.metrics?.values[metric] : undefined;
  if (!isOfConcept(metric)) return undefined;
  const asked = status?.gated?.find((each) => each.concept === concept && each.metric === metric);
  return asked?.value ?? status?.concepts?.find((row) => row.concept === concept)?.[metric];
};

const whyUnknown = (
  { metric, concept }: Gate,
  { spec, status, metadata }: ModelVersion,
): string => {
  if (concept === undefined) {
    return `was not measured for this model; ${instead(Object.keys(status?.metrics?.values ?? {}))}`;
  }
  if (!spec.concepts.includes(concept)) {
    return `cannot be measured: ${metadata.name} was not trained on that concept; name one that it has, or remove the gate`;
  }
  const asked = (status?.gated ?? []).filter((each) => each.concept === concept);
  const row = status?.concepts?.find((each) => each.concept === concept);
  const isRecorded = row !== undefined || asked.some((each) => each.metric === metric);
  const measured = [
    ...Object.keys(row ?? {}).filter((name) => name !== "concept"),
    ...asked.flatMap((each) => (each.value === undefined ? [] : [each.metric])),
  ];
  return isRecorded
    ? `was not measured: there is no such metric for this model, or nothing to measure it on in the ${status?.metrics?.split} split; ${instead(measured)}`
    : `is not known here: the status of ${metadata.name} keeps the concepts that were gated when its training began, and the worst others; it is in ${status?.artifact?.path}/metrics.json of the store, and versions that are trained from now on record it`;
};

/** The names are of a closed set, so that all of them fit into a message. */
const instead = (measured: readonly string[]): string =>
  measured.length === 0
    ? "remove the gate"
    : `name one that was (${[...new Set(measured)].join(", ")}), or remove the gate`;

/** What a run is told to record: a gate may speak of a concept that the status has no room for. */
export const gatedConcepts = (
  { spec: { gates } }: DeepModel,
  { spec: { concepts } }: ModelVersion,
): GatedConcept[] => {
  const asked = (gates ?? []).flatMap(({ metric, concept }): GatedConcept[] => {
    const place = concept === undefined ? -1 : concepts.indexOf(concept);
    return place >= 0 && isOfConcept(metric) ? [{ concept: place, metric }] : [];
  });
  return asked.filter(
    ({ concept, metric }, index) =>
      asked.findIndex((each) => each.concept === concept && each.metric === metric) === index,
  );
};

type Recorded = Extract<TrainingRecord, { outcome: "published" }>["gated"];

/** What the record says of them, by the names of the concepts. */
export const gatedStatus = (
  { spec: { concepts } }: ModelVersion,
  recorded: Recorded,
): Pick<ModelVersionStatus, "gated"> => {
  const gated = (recorded ?? []).flatMap(({ concept: place, ...measured }) => {
    const concept = concepts[place];
    return concept === undefined ? [] : [{ concept, ...measured }];
  });
  return gated.length === 0 ? {} : { gated };
};

export const isComplete = ({ status }: ModelVersion): boolean => status?.artifact !== undefined;

export const isUsable = (gates: readonly Gate[] | undefined, version: ModelVersion): boolean =>
  isComplete(version) && gateProblem(gates, version) === undefined;
