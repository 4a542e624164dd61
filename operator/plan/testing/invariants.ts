// What must hold for every status that any planner makes.

import type { Condition } from "../../../api/conditions.ts";

interface Subject {
  metadata: { generation?: number | undefined };
  status?:
    | {
        observedGeneration?: number | undefined;
        conditions?: readonly Condition[] | undefined;
      }
    | undefined;
}

/** The rules that this status breaks; empty where all is well. */
export const brokenInvariants = ({ metadata, status }: Subject): string[] => {
  const broken: string[] = [];
  const must = (holds: boolean, rule: string) => {
    if (!holds) broken.push(rule);
  };
  const conditions = status?.conditions ?? [];
  const find = (type: string) => conditions.find((each) => each.type === type);
  must(status?.observedGeneration === (metadata.generation ?? 0), "observedGeneration is current");
  must(new Set(conditions.map(({ type }) => type)).size === conditions.length, "one of each type");
  must(find("Ready") !== undefined, "Ready is always there");
  const [ready, working, stalled] = [find("Ready"), find("Reconciling"), find("Stalled")];
  must(working === undefined || stalled === undefined, "Reconciling and Stalled exclude another");
  for (const each of [working, stalled]) {
    must(each === undefined || each.status === "True", "Reconciling, Stalled exist only when True");
  }
  must(!(ready?.status === "True" && (working ?? stalled) !== undefined), "Ready excludes both");
  must(!(ready?.status === "Unknown" && working === undefined), "Ready Unknown is Reconciling");
  must(!(stalled !== undefined && ready?.status !== "False"), "Stalled is Ready False");
  for (const { type, message, observedGeneration } of conditions) {
    must(message !== "" && message.length <= 1024, `${type} has a message, and not a long one`);
    must(!/[\r\n]/.test(message), `${type} says it in one line`);
    must(observedGeneration === (metadata.generation ?? 0), `${type} is stamped`);
  }
  return broken;
};
