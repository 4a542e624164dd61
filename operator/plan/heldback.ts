// Changes outside a model's spec that it does not train on by itself: what `spec.retrainOn` does not list waits for the
// user's word, and what it does list goes on without it.

import type { DeepModel } from "../../api/deepmodel.ts";
import { annotation } from "../../api/group.ts";
import { inputsHash } from "../../api/inputs.ts";
import type { ModelVersion } from "../../api/modelversion.ts";
import type { Problem } from "./specproblem.ts";
import type { Change, Inputs, Unsettled } from "./wantedinputs.ts";

export interface HeldBack {
  /** The newest inputs with what must wait as the version has it. */
  inputs: Inputs;
  pending: Problem;
}

/** Undefined: nothing must wait. `version` answers for the spec, with other data or another base. */
export const heldBack = (
  model: DeepModel,
  { spec }: ModelVersion,
  newest: Inputs,
): HeldBack | undefined => {
  const listed = listedChanges(model);
  const changes: Change[] = [];
  let content = newest;
  if (!listed.includes("data") && isOtherData(spec, newest)) {
    changes.push("data");
    content = { ...content, dataset: spec.dataset, concepts: spec.concepts };
  }
  if (!listed.includes("base") && spec.base.digest !== newest.base.digest) {
    changes.push("base");
    content = { ...content, base: spec.base };
  }
  return changes.length === 0
    ? undefined
    : {
        inputs: { ...content, inputsHash: inputsHash(content) },
        pending: { reason: "RetrainPending", message: pendingMessage(model, changes) },
      };
};

const listedChanges = ({ spec }: DeepModel): readonly Change[] => spec.retrainOn ?? ["data"];

/** Why no version can be made yet. A part that is taken as the version before has it need not be settled. */
export const unsettledProblem = (
  model: DeepModel,
  { data, base }: Unsettled,
  isHeldBack: boolean,
): Problem | undefined => {
  const counts = (change: Change) => !isHeldBack || listedChanges(model).includes(change);
  // On data that are being deleted nothing new is trained, not even as they were.
  if (data !== undefined && (data.reason === "DatasetNotFound" || counts("data"))) return data;
  return counts("base") ? base : undefined;
};

const isOtherData = (spec: Pick<Inputs, "dataset">, newest: Inputs): boolean =>
  spec.dataset.digest !== newest.dataset.digest ||
  spec.dataset.splitDigest !== newest.dataset.splitDigest;

const pendingMessage = ({ spec }: DeepModel, changes: readonly Change[]): string => {
  const what = {
    data: `the data of Dataset ${spec.datasetRef.name}`,
    base: `the ready version of DeepModel ${spec.base?.modelRef?.name}`,
  };
  return `${changes.map((change) => what[change]).join(" and ")} changed, and spec.retrainOn does not list ${changes.join(" and ")}; set the annotation ${annotation.retrain} to a new value to train on ${changes.length > 1 ? "them" : changes[0] === "data" ? "them" : "it"}`;
};
