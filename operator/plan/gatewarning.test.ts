import { describe, expect, test } from "vitest";
import type { DatasetReport } from "../../api/dataset.ts";
import type { DeepModelSpec } from "../../api/deepmodel.ts";
import type { Gate, GatedMetricName } from "../../api/gate.ts";
import { metricNames, ofConceptsOnly } from "../../api/metrics.ts";
import { condition } from "./conditions.ts";
import { planDeepModel } from "./deepmodel.ts";
import { trained, world } from "./testing/deepmodelstates.ts";
import { model, readyDataset, report, withBoxes } from "./testing/gen.ts";

const resnet = "visual-classifier/resnet18";
const linear = "context-based-classifier/linear";
const ssdlite = "visual-detector/ssdlite-efficientnet-lite0";
const arcface = "visual-embedder/arcface-efficientnet-lite0";

const named = (count: number): DatasetReport =>
  report("a", Object.fromEntries(Array.from({ length: count }, (_, i) => [`c${i}`, 600])));

const gated = (
  template: DeepModelSpec["template"],
  gates: Gate[],
  { logreg, videos, concepts = 2 }: { logreg?: boolean; videos?: number; concepts?: number } = {},
) => {
  const data = withBoxes(concepts === 2 ? report() : named(concepts));
  return planDeepModel(
    world({
      model: model({
        spec: { template, gates, hyperparameters: logreg === undefined ? {} : { logreg } },
      }),
      dataset: readyDataset(videos === undefined ? data : { ...data, videos }),
    }),
  );
};

const warned = (...given: Parameters<typeof gated>): string | undefined => {
  const plan = gated(...given);
  // It keeps nothing from being trained.
  expect(plan.effects).toHaveLength(1);
  const warning = condition(plan.status, "DataWarning");
  return warning?.reason === "MetricUnknown" ? warning.message : undefined;
};

/** The metrics that are told to be impossible, each gated by itself. */
const impossible = (
  ...[template, names, how]: [
    DeepModelSpec["template"],
    readonly GatedMetricName[],
    Parameters<typeof gated>[2]?,
  ]
) => names.filter((metric) => warned(template, [{ metric, min: 0 }], how) !== undefined);

const videoNames = metricNames.filter((name) => name.startsWith("video_"));
const classifiers = ["top1", "top5", "macro_f1", "macro_ap", "macro_roc_auc"] as const;
const detectors = ["map", "map50", "map75", "map_small", "map_medium", "map_large"] as const;
const embedders = [
  ...(["recall_at_1", "recall_at_5", "recall_at_10", "map_at_r", "silhouette"] as const),
  "baseline_recall_at_1" as const,
];
const operating = ["precision", "recall"] as const;

describe("a gate on a metric that its template can never have", () => {
  const elsewhere = [...detectors, ...operating, ...embedders];

  test.each([resnet, linear] as const)("%s", (template) => {
    const softmax = { logreg: false, concepts: 6 };
    const logistic = { concepts: 6 };
    const refused = (how: object) => new Set(impossible(template, metricNames, how));
    expect(refused(softmax)).toEqual(new Set([...elsewhere, ...videoNames, "best_f1_threshold"]));
    // Whether the concepts exclude one another is told by the data alone.
    expect(refused(logistic)).toEqual(new Set([...elsewhere, ...videoNames, "log_loss"]));
    expect(refused({ ...softmax, videos: 9 })).toEqual(
      new Set([...elsewhere, "best_f1_threshold"]),
    );
    expect(refused({ ...logistic, videos: 9 })).toEqual(
      new Set([...elsewhere, "log_loss", "video_log_loss"]),
    );
    const of5 = impossible(template, [...classifiers, ...videoNames], { concepts: 5, videos: 9 });
    expect(of5).toEqual(["top5", "video_top5", "video_log_loss"]);
  });

  test("detectors and embedders", () => {
    const boxes = [...detectors, ...operating, "best_f1_threshold"];
    expect(impossible(ssdlite, metricNames, { videos: 9 })).toEqual(
      metricNames.filter((name) => !boxes.includes(name)),
    );
    expect(impossible(arcface, metricNames, { videos: 9 })).toEqual(
      metricNames.filter((name) => !embedders.some((each) => each === name)),
    );
  });

  test.each<[DeepModelSpec["template"], number | undefined, readonly GatedMetricName[]]>([
    [resnet, undefined, ofConceptsOnly.filter((name) => name.startsWith("video_"))],
    [linear, 9, []],
    [ssdlite, undefined, ofConceptsOnly.filter((name) => /^video_|roc_auc/.test(name))],
    [arcface, undefined, ["precision", ...ofConceptsOnly.filter((name) => name !== "support")]],
  ])("%s, of one concept", (template, videos, want) => {
    const names = [...operating, ...ofConceptsOnly];
    const how = videos === undefined ? {} : { videos };
    const refused = names.filter(
      (metric) => warned(template, [{ metric, concept: "cat", min: 0 }], how) !== undefined,
    );
    expect(refused).toEqual(want);
  });

  test("is told before anything is trained, with the field and the metrics that there are", () => {
    const top1: Gate = { metric: "top1", min: 0.5 };
    expect(warned(resnet, [top1, { metric: "map50", min: 0.5 }])).toBe(
      "spec.gates[1].metric: a visual-classifier (2 concepts, logreg: true, pictures) has no map50, so no version can meet the gate; name one of top1, macro_f1, macro_ap, macro_roc_auc, best_f1_threshold",
    );
  });

  test("beside one on a concept that the data lack, and beside other warnings", () => {
    const { status } = gated(ssdlite, [
      { metric: "roc_auc", concept: "dog", min: 0.5 },
      { metric: "ap", concept: "defct", min: 0.5 },
    ]);
    expect(condition(status, "DataWarning")).toMatchObject({
      reason: "ConceptUnknown",
      message: expect.stringMatching(
        /^spec\.gates\[1\]\.concept: .*defct.*; spec\.gates\[0\]\.metric: a visual-detector has no roc_auc of a concept, .*name one of precision, recall, f1, ap, support/,
      ),
    });
  });

  test("takes no readiness from what is trained: the gate does, as ever", () => {
    const gates: Gate[] = [{ metric: "map50", min: 0.5 }];
    const status = { readyVersion: "pets-v1", lastVersionNumber: 1 };
    const plan = planDeepModel(
      world({ model: model({ spec: { gates }, status }), versions: [trained()] }),
    );
    expect(plan.effects).toEqual([]);
    expect(plan.status?.readyVersion).toBe("pets-v1");
    expect(condition(plan.status, "Accepted")?.status).toBe("True");
    expect(condition(plan.status, "Available")?.status).toBe("True");
    expect(condition(plan.status, "Ready")).toMatchObject({
      status: "False",
      reason: "GateNotMet",
      message: expect.stringContaining("name one that was (top1)"),
    });
  });
});
