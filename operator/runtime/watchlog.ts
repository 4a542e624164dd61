// What watches that fail leave in the log: each new problem of a resource at once, a lasting one now and then.

import type { Logger } from "./log.ts";
import { apiVersion } from "./resource.ts";
import type { WatchFailure } from "./watch.ts";

const AGAIN_MS = 60_000;

/** For the `onFailure` of any number of watches. */
export const watchLog = (
  log: Pick<Logger, "warn">,
  now: () => number = () => performance.now(),
): ((failure: WatchFailure) => void) => {
  const said = new Map<string, { problem: string; at: number }>();
  return ({ resource, verb, problem, failures, pauseMs }) => {
    const last = said.get(resource.plural);
    if (last?.problem === problem && now() - last.at < AGAIN_MS) return;
    said.set(resource.plural, { problem, at: now() });
    log.warn(
      {
        verb,
        resource: resource.plural,
        apiVersion: apiVersion(resource),
        problem,
        failures,
        retryInMs: Math.round(pauseMs),
      },
      "a watch failed",
    );
  };
};
