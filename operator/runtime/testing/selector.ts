// Label selectors, as far as a watch of ours uses them: `name=value` and `name`, joined by commas.

import type { KubeObject } from "../object.ts";

export const selects = (
  { metadata }: KubeObject,
  namespace: string,
  selector: string | null,
): boolean => {
  if (namespace !== "" && metadata.namespace !== namespace) return false;
  return (selector ?? "")
    .split(",")
    .filter((term) => term !== "")
    .every((term) => {
      const [name = "", value] = term.split("=");
      const label = metadata.labels?.[name];
      return value === undefined ? label !== undefined : label === value;
    });
};
