// Tells on an object itself that its spec cannot be read. The rest of its status stays as it is.

import { canonicalJson } from "../../api/canonical.ts";
import { unreadableStatus } from "../plan/unreadable.ts";
import { isRecord } from "../runtime/object.ts";
import { nameOf, type Resource } from "../runtime/resource.ts";
import type { Io } from "./shell.ts";

export const tellUnreadable = async (
  { client, now }: Io,
  resource: Resource,
  kind: "Dataset" | "DeepModel",
  key: string,
  problem: string,
): Promise<undefined> => {
  const name = nameOf(key);
  const object = await client.get(resource, name);
  if (object === undefined) return;
  const { generation } = object.metadata as { generation?: unknown };
  const status = isRecord(object.status) ? object.status : {};
  const next = unreadableStatus(
    {
      generation: typeof generation === "number" ? generation : 0,
      conditions: status.conditions,
      problem,
    },
    kind,
    now(),
  );
  const { observedGeneration, conditions } = status;
  if (canonicalJson({ observedGeneration, conditions }) === canonicalJson(next)) return;
  await client.patch(resource, name, { status: next }, { subresource: "status" });
};
