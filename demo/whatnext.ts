// What the demo says at its end: commands that act on the cluster that it ran on.

import type { Target } from "./target.ts";

/** Lines to paste into a shell. */
export function whatNext(
  { kubeconfig, isLocal }: Pick<Target, "kubeconfig" | "isLocal">,
  namespace: string,
  model: string,
): string {
  const patch = '{"spec":{"hyperparameters":{"num_epochs":4}}}';
  const lines = [
    [`export KUBECONFIG=${quoted(kubeconfig)}`],
    [
      `kubectl -n ${namespace} get deepmodels,modelversions,datasets`,
      ...(isLocal ? ["no kubectl? npm run kubectl -- get ..."] : []),
    ],
    [`kubectl -n ${namespace} describe deepmodel ${model}`],
    ["kubectl explain deepmodel.spec.hyperparameters"],
    [`kubectl -n ${namespace} patch deepmodel ${model} --type merge -p '${patch}'`],
    [`kubectl -n ${namespace} get deepmodels -w`, "v2 trains while v1 stays available"],
    isLocal
      ? ["npm run cluster:down", "removes the one-machine cluster"]
      : [`kubectl delete namespace ${namespace}`, "removes the demo's objects; the operator stays"],
  ];
  return lines
    .map(([line = "", comment]) =>
      comment === undefined ? `  ${line}` : `  ${line.padEnd(62)} # ${comment}`,
    )
    .join("\n");
}

function quoted(text: string): string {
  return /^[\w./:@+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
