// `npm run bench:operator`: how fast the operator turns DeepModels into Jobs, beside the API server's own ceiling for
// the same writes, and what it costs; then whether it is silent when all is settled. Prints JSON.
//   --models=300       models that 8 clients create at once
//   --settled=0        models with 3 finished versions each, to which an operator is started (10000 for the aim)

import { parseArgs } from "node:util";
import { note, withControlPlane } from "./bench.ts";
import { measureCeiling } from "./ceiling.ts";
import { measureCreation } from "./creation.ts";
import { measureSettled } from "./settled.ts";

const { values } = parseArgs({
  options: {
    models: { type: "string", default: "300" },
    settled: { type: "string", default: "0" },
  },
});
const models = Number(values.models);
const settledModels = Number(values.settled);

const { written, finished, ...creation } = await withControlPlane("creation", (bench) =>
  measureCreation(bench, models),
);
note(`operator: ${creation.jobsPerSecond.toFixed(1)} Jobs/s`);
const ceiling = await withControlPlane("ceiling", (bench) => measureCeiling(bench, written));
note(`ceiling of the API server: ${ceiling.jobsPerSecond.toFixed(1)} Jobs/s`);
const settled =
  settledModels === 0
    ? undefined
    : await withControlPlane("settled", (bench) => measureSettled(bench, finished, settledModels));
const ratioToCeiling = creation.jobsPerSecond / ceiling.jobsPerSecond;
console.log(JSON.stringify({ creation, ceiling, ratioToCeiling, settled }, null, 2));
