// Numbers as the columns of `kubectl get` show them, and names as messages do.

import type { Progress } from "../../api/deepmodel.ts";
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
    // Nothing is left after the last step, which early_stop_epochs may put before the last epoch.
    ...(etaSeconds === undefined || etaSeconds === 0 || percent >= 100
      ? []
      : [etaText(etaSeconds)]),
  ].join(" · ");

/**
 * The metrics that people look at first, and no model has those of two kinds. The trainer reports top1 where each item
 * shows exactly one concept, whatever the loss; elsewhere macro_ap leads. Of videos whole ones count.
 */
const headlines: readonly MetricName[] = [
  "video_top1",
  "video_macro_ap",
  "top1",
  "macro_ap",
  "map50",
  "map",
  "recall_at_1",
];

/** The headline metric, as `top1 0.912`; undefined where there is no value. */
export const metricText = (values: MetricValues | undefined): string | undefined => {
  const order = [...headlines, ...metricNames];
  const name = order.find((each) => values?.[each] !== undefined);
  const value = name === undefined ? undefined : values?.[name];
  return name === undefined || value === undefined ? undefined : `${name} ${value.toFixed(3)}`;
};

/** Digits after the point that a metric needs to be told from the bound it is compared with. */
export const plain = (value: number): string => String(Number(value.toPrecision(6)));

/** The first five, and how many more there are. */
export const listed = (names: readonly string[]): string =>
  names.length <= 5
    ? names.join(", ")
    : `${names.slice(0, 5).join(", ")} and ${names.length - 5} more`;
