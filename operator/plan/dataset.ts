// Dataset: one import for each distinct set of import inputs, tried again where that can help. The previous data stay
// until the next are whole.

import { canonicalDigest } from "../../api/canonical.ts";
import type { Dataset, DatasetReport, DatasetStatus } from "../../api/dataset.ts";
import { annotation } from "../../api/group.ts";
import { importInputsHash } from "../../api/inputs.ts";
import { BUDGET, backoffAfter, LONGEST_BACKOFF_MS } from "./attempts.ts";
import { condition, isTrue, MESSAGE_MAX_CHARS, type Outcome, oneLine } from "./conditions.ts";
import { datasetStatus, transition } from "./datasetstatus.ts";
import { type ImportFailure, importFailure } from "./importfailure.ts";
import { importJob, importJobName } from "./importjob.ts";
import type { Claim, Event, Job, Pod } from "./kubernetes.ts";
import type { Mail } from "./mail.ts";
import {
  type Effect,
  isOwnedBy,
  later,
  msUntil,
  type Plan,
  type Refusal,
  refusedOutcome,
  type Settings,
  tryAgainMs,
} from "./plan.ts";
import {
  eventsDueMs,
  isFinished,
  type JobEnd,
  podState,
  STUCK_AGAIN_MS,
  stuckDueMs,
  stuckPod,
} from "./podstate.ts";
import { importRecord } from "./record.ts";
import { datasetProblem } from "./specproblem.ts";
import { isOneNode, storeClaim } from "./store.ts";

export interface DatasetWorld {
  dataset: Dataset;
  /** Import Jobs that carry this Dataset's name; those of another owner are ignored. */
  jobs: readonly Job[];
  /** Pods that carry this Dataset's name. */
  pods: readonly Pod[];
  /** Events of the newest Job and its pods; read only when `wantsEvents` says so. */
  events: readonly Event[];
  claim: Claim | undefined;
  mails: readonly Mail[];
  refusals: readonly Refusal[];
  settings: Settings;
  now: string;
}

type Import = NonNullable<DatasetStatus["import"]>;

/** How things stand after this pass: what the status is made of. */
export interface DatasetStanding {
  outcome: Outcome;
  /** The spec itself cannot work. */
  rejected?: true;
  import?: Import;
  data?: DatasetReport;
  dataInputsHash?: string;
  lastHandledRetry?: string;
}

interface Step {
  standing: DatasetStanding;
  effects: Effect[];
  nextMs?: number;
}

export const planDataset = (world: DatasetWorld): Plan<DatasetStatus> => {
  const { dataset, now } = world;
  if (dataset.metadata.deletionTimestamp !== undefined) return { effects: [], events: [] };
  const step = nextStep(world);
  return {
    effects: [...replacedImports(world, step.standing.import?.job), ...step.effects],
    status: datasetStatus(dataset, step.standing, now),
    events: transition(dataset, step.standing),
    ...(step.nextMs === undefined ? {} : { nextMs: step.nextMs }),
  };
};

const nextStep = (world: DatasetWorld): Step => {
  const { dataset } = world;
  const problem = datasetProblem(dataset);
  if (problem !== undefined) {
    const outcome: Outcome = { is: "failed", ...problem };
    return { standing: { ...kept(dataset), rejected: true, outcome }, effects: [] };
  }
  const inputsHash = importInputsHash(dataset.spec);
  const current = currentImport(dataset, inputsHash);
  if (dataset.status?.data !== undefined && dataset.status.dataInputsHash === inputsHash) {
    return {
      standing: { ...kept(dataset), import: bare(current), outcome: imported },
      effects: [],
    };
  }
  if (current.job === undefined) return begin(world, current);
  // An annotation cannot hurry what is under way.
  if (isRunning(dataset, current)) return follow(world, current);
  if (askedRetry(dataset) !== undefined) return begin(world, { ...current, counted: 0 });
  return rest(world, current);
};

const imported: Outcome = {
  is: "ready",
  reason: "Imported",
  message: "the data are ready for training",
};

/** What stays as it is; a request to try again counts as heard from here on. */
const kept = (dataset: Dataset): Omit<DatasetStanding, "outcome"> => {
  const { import: current, data, dataInputsHash } = dataset.status ?? {};
  const lastHandledRetry = askedRetry(dataset) ?? dataset.status?.lastHandledRetry;
  return {
    ...(current === undefined ? {} : { import: current }),
    ...(data === undefined ? {} : { data }),
    ...(dataInputsHash === undefined ? {} : { dataInputsHash }),
    ...(lastHandledRetry === undefined ? {} : { lastHandledRetry }),
  };
};

const askedRetry = (dataset: Dataset): string | undefined => {
  const asked = dataset.metadata.annotations?.[annotation.retry]?.slice(0, 256);
  return asked === dataset.status?.lastHandledRetry ? undefined : asked;
};

/** The import of these inputs; attempts are counted on over the Dataset's life, so that no Job's name comes twice. */
const currentImport = (dataset: Dataset, inputsHash: string): Import => {
  const previous = dataset.status?.import;
  if (previous?.inputsHash === inputsHash) return previous;
  return { inputsHash, attempt: previous?.attempt ?? 0, counted: 0 };
};

/** Its attempt was begun and has not been judged yet. */
const isRunning = (dataset: Dataset, current: Import): boolean =>
  current.retryAt === undefined &&
  !(isTrue(dataset.status, "Stalled") && isTrue(dataset.status, "Accepted"));

const bare = ({ inputsHash, attempt, counted, job, jobUid }: Import): Import => ({
  inputsHash,
  attempt,
  counted,
  ...(job === undefined ? {} : { job }),
  ...(jobUid === undefined ? {} : { jobUid }),
});

/** Begins the next attempt, or finds that its Job was created before its status could be written. */
const begin = (world: DatasetWorld, previous: Import): Step => {
  const { dataset, settings, claim } = world;
  const { inputsHash, counted } = previous;
  const attempt = previous.attempt + 1;
  const name = importJobName(dataset.metadata.name, inputsHash, attempt);
  const current: Import = { inputsHash, attempt, counted, job: name };
  const [refusal] = world.refusals;
  if (refusal !== undefined) return refused(world, previous, refusal);
  if (jobOf(world, name) !== undefined) return follow(world, current);
  const job = importJob(
    { dataset, inputsHash, attempt, oneNode: isOneNode(claim, settings.store) },
    settings,
  );
  return {
    standing: {
      ...kept(dataset),
      import: current,
      outcome: { is: "working", reason: "Importing", message: "the pod is being created" },
    },
    effects: [
      ...(claim === undefined ? [storeClaim(dataset.metadata.namespace, settings.store)] : []),
      { verb: "create", object: job },
    ],
  };
};

const refused = ({ dataset }: DatasetWorld, previous: Import, refusal: Refusal): Step => {
  const { inputsHash, attempt, counted } = previous;
  return {
    // Without a Job: not begun, so the same attempt is tried again.
    standing: {
      ...kept(dataset),
      import: { inputsHash, attempt, counted },
      outcome: refusedOutcome(refusal),
    },
    effects: [],
    nextMs: tryAgainMs(refusal),
  };
};

/** Failed for good, or waiting for the time of the next attempt. */
const rest = (world: DatasetWorld, current: Import): Step => {
  const { dataset, now } = world;
  const { retryAt } = current;
  const waitMs = retryAt === undefined ? undefined : msUntil(retryAt, now, LONGEST_BACKOFF_MS);
  if (waitMs === 0) return begin(world, bare(current));
  const { reason, message } = condition(dataset.status, "Ready") ?? {
    reason: "ImportFailed" as const,
    message: `the import failed; ${retryHint}`,
  };
  return {
    standing: {
      ...kept(dataset),
      import: current,
      outcome: { is: waitMs === undefined ? "failed" : "working", reason, message },
    },
    effects: [],
    ...(waitMs === undefined ? {} : { nextMs: waitMs }),
  };
};

const jobOf = (world: DatasetWorld, name: string): Job | undefined =>
  ownJobs(world).find((job) => job.metadata.name === name);

const ownJobs = ({ jobs, dataset }: DatasetWorld): Job[] =>
  jobs.filter((job) => isOwnedBy(job, dataset.metadata));

/** Unfinished imports of other inputs: nobody wants what they would bring. */
const replacedImports = (world: DatasetWorld, wanted: string | undefined): Effect[] =>
  ownJobs(world)
    .filter(
      (job) =>
        job.metadata.name !== wanted &&
        job.metadata.deletionTimestamp === undefined &&
        !isFinished(job),
    )
    .map(({ metadata }) => ({
      verb: "delete",
      kind: "Job",
      namespace: metadata.namespace,
      name: metadata.name,
      uid: metadata.uid,
      foreground: false,
    }));

/** Reads what became of the attempt that is under way. */
const follow = (world: DatasetWorld, begun: Import): Step => {
  const { dataset, now } = world;
  const job = jobOf(world, begun.job ?? "");
  if (job === undefined) return failed(world, begun, lostJob);
  const current = withMails({ ...begun, jobUid: job.metadata.uid }, world.mails);
  const pods = world.pods.filter((pod) => isOwnedBy(pod, job.metadata));
  const state = podState({ job, pods, events: world.events });
  const working = (reason: Outcome["reason"], message: string, nextMs?: number): Step => ({
    standing: {
      ...kept(dataset),
      import: current,
      outcome: { is: "working", reason, message },
    },
    effects: [],
    ...(nextMs === undefined ? {} : { nextMs }),
  });
  if (state.is === "ended") return ended(world, current, state.end);
  const stuck = stuckPod(pods, now, "import");
  if (stuck !== undefined) return working("PodLost", stuck, STUCK_AGAIN_MS);
  switch (state.is) {
    case "waiting": {
      const reason = state.reason === "Starting" ? "Importing" : state.reason;
      return working(reason, state.message, eventsDueMs(job, pods, now));
    }
    case "running":
      return working("Importing", "the data are being imported", stuckDueMs(pods));
    case "stopping":
      return working("Importing", "the import is ending", stuckDueMs(pods));
  }
};

const lostJob: ImportFailure = {
  reason: "PodLost",
  message: "the Job of the import is gone",
  retry: "counted",
};

const withMails = (current: Import, mails: readonly Mail[]): Import => {
  const next = { ...current };
  for (const { report } of mails) {
    if (report.task !== "import" || report.attempt !== current.attempt) continue;
    if (report.event.type === "report") next.report = report.event.report;
    else {
      const { phase, done, total } = report.event;
      next.phase = phase;
      next.done = Math.min(done, 1_000_000_000);
      if (total === undefined) delete next.total;
      else next.total = Math.min(total, 1_000_000_000);
    }
  }
  return next;
};

const ended = (world: DatasetWorld, current: Import, end: JobEnd): Step => {
  const { dataset } = world;
  const record = importRecord(end, { uid: dataset.metadata.uid, attempt: current.attempt });
  if (!end.succeeded || record?.outcome !== "published") {
    return failed(world, current, importFailure(end, record, world.settings.importMemory));
  }
  const { report } = current;
  if (report === undefined || canonicalDigest(report) !== record.reportDigest) {
    return failed(world, current, {
      reason: "ImportFailed",
      message: "its report did not reach the operator: is the progress endpoint reachable?",
      retry: "counted",
    });
  }
  return {
    standing: {
      ...kept(dataset),
      import: bare(current),
      data: report,
      dataInputsHash: current.inputsHash,
      outcome: imported,
    },
    effects: [],
  };
};

const failed = (world: DatasetWorld, current: Import, failure: ImportFailure): Step => {
  const { dataset, now } = world;
  const counted = current.counted + (failure.retry === "free" ? 0 : 1);
  const known = kept(dataset);
  if (failure.retry === "never" || counted >= BUDGET) {
    const budget = failure.retry === "never" ? "" : ` (attempt ${counted} of ${BUDGET}, the last)`;
    // What to do must not be what is cut off.
    const ending = `${budget}; ${failure.cure ?? retryHint}`;
    return {
      standing: {
        ...known,
        import: { ...bare(current), counted },
        outcome: {
          is: "failed",
          reason: failure.reason,
          message: `${oneLine(failure.message, MESSAGE_MAX_CHARS - ending.length)}${ending}`,
        },
      },
      effects: [],
    };
  }
  const pauseMs = backoffAfter(counted);
  const retryAt = later(now, pauseMs);
  return {
    standing: {
      ...known,
      import: { ...bare(current), counted, retryAt },
      outcome: {
        is: "working",
        reason: "RetryingAfterFailure",
        message: `${failure.reason}: ${failure.message}; attempt ${counted + 1} of ${BUDGET} begins at ${retryAt}`,
      },
    },
    effects: [],
    nextMs: pauseMs,
  };
};

const retryHint = `set the annotation ${annotation.retry} to a new value to try again`;
