// `npm run bench:operator`: how fast the operator turns DeepModels into Jobs, beside the API server's own ceiling for
// the same writes, and what it costs; then whether it is silent when all is settled. Prints JSON.
//   --models=300       models that 8 clients create at once
//   --rounds=3         how often, operator and ceiling in turn: the figures are medians
//   --settled=0        models with 3 finished versions each, to which an operator is started (10000 for the aim)

import { parseArgs } from "node:util";
import { note, withControlPlane } from "./bench.ts";
import { measureCeiling } from "./ceiling.ts";
import { measureCreation } from "./creation.ts";
import { measureSettled } from "./settled.ts";

const { values } = parseArgs({
  options: {
    models: { type: "string", default: "300" },
    rounds: { type: "string", default: "3" },
    settled: { type: "string", default: "0" },
  },
});
const models = Number(values.models);
const settledModels = Number(values.settled);

const median = (numbers: readonly number[]): number =>
  [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;

/** One after the other, each on an empty API server of its own: what else the machine does is felt by both. */
async function round() {
  const { written, finished, ...creation } = await withControlPlane("creation", (bench) =>
    measureCreation(bench, models),
  );
  const ceiling = await withControlPlane("ceiling", (bench) => measureCeiling(bench, written));
  const ratioToCeiling = creation.jobsPerSecond / ceiling.jobsPerSecond;
  note(
    `operator ${creation.jobsPerSecond.toFixed(1)} Jobs/s, ceiling of the API server ${ceiling.jobsPerSecond.toFixed(1)}`,
  );
  return { creation, ceiling, ratioToCeiling, finished };
}

const rounds: Awaited<ReturnType<typeof round>>[] = [];
for (let n = 0; n < Number(values.rounds); n += 1) rounds.push(await round());
const sample = rounds[0]?.finished;
if (sample === undefined) throw new Error("--rounds must be at least 1");
const settled =
  settledModels === 0
    ? undefined
    : await withControlPlane("settled", (bench) => measureSettled(bench, sample, settledModels));

console.log(
  JSON.stringify(
    {
      jobsPerSecond: median(rounds.map(({ creation }) => creation.jobsPerSecond)),
      ceilingJobsPerSecond: median(rounds.map(({ ceiling }) => ceiling.jobsPerSecond)),
      ratioToCeiling: median(rounds.map((each) => each.ratioToCeiling)),
      p99Seconds: median(rounds.map(({ creation }) => creation.p99Seconds)),
      operatorPeakMegabytes: Math.max(
        ...rounds.map(({ creation }) => creation.operatorPeakMegabytes),
      ),
      rounds: rounds.map(({ finished: _, ...figures }) => figures),
      settled,
    },
    null,
    2,
  ),
);
