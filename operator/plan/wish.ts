// What a DeepModel wants of one of its versions.

import type { DeepModel } from "../../api/deepmodel.ts";
import { annotation } from "../../api/group.ts";
import type { ModelVersion } from "../../api/modelversion.ts";
import { type Placement, placementOf } from "./placement.ts";

/** What the DeepModel wants of this version. */
export interface Wish {
  /** `leave`: it has not decided, or wants none: nothing is started and nothing is stopped. */
  is: "run" | "leave" | "stop";
  reason: "Suspended" | "Superseded";
  placement: Placement;
  /** A retry that was asked for and not yet heard. */
  retry: boolean;
}

export const wishOf = (version: ModelVersion, model: DeepModel): Wish => {
  const wanted = model.status?.wantedVersion;
  const isSuspended = model.spec.suspend === true;
  const isOther = wanted !== undefined && wanted !== version.metadata.name;
  return {
    is: isOther || isSuspended ? "stop" : wanted === undefined ? "leave" : "run",
    reason: isOther ? "Superseded" : "Suspended",
    placement: placementOf(model.spec),
    retry: askedRetry(version, model) !== undefined,
  };
};

/** The value of the retry annotation, where nobody has heard it: it counts once, whichever version was wanted then. */
export const askedRetry = (version: ModelVersion, model: DeepModel): string | undefined => {
  const asked = model.metadata.annotations?.[annotation.retry]?.slice(0, 256);
  const heard = [version.status?.lastHandledRetry, model.status?.lastHandledRetry];
  return heard.includes(asked) ? undefined : asked;
};
