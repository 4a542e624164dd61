// kstatus' verdict on an object of a kind it does not know (cli-utils, pkg/kstatus/status/generic.go), rule by rule.

export type KStatus = "Current" | "InProgress" | "Failed" | "Terminating";

interface Subject {
  metadata: { generation?: number | undefined; deletionTimestamp?: string | undefined };
  status?:
    | {
        observedGeneration?: number | undefined;
        conditions?: readonly { type: string; status: string }[] | undefined;
      }
    | undefined;
}

export const kstatus = ({ metadata, status }: Subject): KStatus => {
  if (metadata.deletionTimestamp !== undefined) return "Terminating";
  const observed = status?.observedGeneration;
  if (observed !== undefined && observed !== metadata.generation) return "InProgress";
  const is = (type: string) => status?.conditions?.find((each) => each.type === type)?.status;
  if (is("Reconciling") === "True") return "InProgress";
  if (is("Stalled") === "True") return "Failed";
  const ready = is("Ready");
  // Ready Unknown and Ready False are both "in progress" there; True, or no Ready at all, is current.
  return ready === "False" || ready === "Unknown" ? "InProgress" : "Current";
};
