// Numbers as the columns of `kubectl get` show them.

import type { Progress } from "../../api/deepmodel.ts";
import type { EffectiveHyperparameters } from "../../api/hyperparameters.ts";
import { type MetricName, type MetricValues, metricNames } from "../../api/metrics.ts";

/** `45s`, `1m20s`, `2h05m`. */
export const etaText = (seconds: number): string => {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m${pad(whole % 60)}s`;
  if (whole < 100 * 3600)
    return `${Math.floor(whole / 3600)}h${pad(Math.floor((whole % 3600) / 60))}m`;
  return `${Math.floor(whole / 86_400)}d`;
};

const pad = (value: number): string => String(value).padStart(2, "0");

/** `3/10 · 42% · 1m20s`. */
export const progressText = ({
  epoch,
  epochs,
  percent,
  etaSeconds,
}: Pick<Progress, "epoch" | "epochs" | "percent" | "etaSeconds">): string =>
  [
    `${epoch}/${epochs}`,
    `${Math.floor(percent)}%`,
    ...(etaSeconds === undefined || percent >= 100 ? [] : [etaText(etaSeconds)]),
  ].join(" · ");

/** The metric that people look at first: top1 where concepts exclude one another, else macro_ap. */
const headline = (logreg: boolean): MetricName => (logreg ? "macro_ap" : "top1");

/** `top1 0.912`; undefined where there is no value. */
export const metricText = (
  values: MetricValues | undefined,
  { logreg }: Pick<EffectiveHyperparameters, "logreg">,
): string | undefined => {
  const first = headline(logreg);
  const name = [first, ...metricNames].find((each) => values?.[each] !== undefined);
  const value = name === undefined ? undefined : values?.[name];
  return name === undefined || value === undefined ? undefined : `${name} ${value.toFixed(3)}`;
};

/** Digits after the point that a metric needs to be told from the bound it is compared with. */
export const plain = (value: number): string => String(Number(value.toPrecision(6)));
