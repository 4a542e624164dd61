import { describe, expect, test } from "vitest";
import { clusterAccess, namespaceAccess } from "./access.ts";

describe("the operator's rights", () => {
  test("in its own namespace reach one Secret and one Lease; a create cannot be bound to a name", () => {
    const unbound = namespaceAccess.filter(({ resourceNames }) => resourceNames === undefined);
    expect(unbound.flatMap(({ verbs }) => verbs)).toEqual(["create", "create"]);
    const bound = namespaceAccess.flatMap(({ resource, resourceNames = [] }) =>
      resourceNames.map((name) => `${resource}/${name}`),
    );
    expect(bound).toEqual(["leases/deeptrain-operator", "secrets/deeptrain-progress"]);
  });

  test("in all namespaces are those that it uses, and no Secret's", () => {
    const verbs = Object.fromEntries(clusterAccess.map((each) => [each.resource, each.verbs]));
    expect(Object.keys(verbs)).not.toContain("secrets");
    expect(verbs.pods).toEqual(["list", "watch"]);
    expect(clusterAccess.flatMap((each) => each.verbs)).not.toContain("*");
  });
});
