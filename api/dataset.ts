// Dataset: labelled images or videos, where they are and how they are split. The descriptions are what `kubectl explain` prints.

import { z } from "zod";
import { Conditions } from "./conditions.ts";
import { ObjectMeta } from "./objectmeta.ts";
import { lastHandledRetry, observedGeneration, time } from "./statusfields.ts";
import { text } from "./text.ts";

export const Digest = text(
  71,
  /^sha256:[0-9a-f]{64}$/,
  "a digest must be sha256: and 64 lower-case hexadecimal digits",
).describe("A SHA-256 digest, as `sha256:` and 64 hexadecimal digits.");

/** No control characters: a concept's name stands in one-line messages and in the names of directories. */
export const ConceptName = text(
  64,
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  /^[^\x00-\x1f\x7f]+$/,
  "the name of a concept must not be empty and not hold control characters",
).describe("Name of a concept.");

/** An address that is fetched. */
export const HttpUrl = text(
  2048,
  /^https?:\/\/[A-Za-z0-9.:_[\]-]+([/?][!"$-~]*)?$/,
  "url must begin with http:// or https:// and a host, without user name, password and fragment; what is not ASCII, and blanks, must be percent-encoded",
);

/** SHA-256 of a file, without the `sha256:` of a digest: as `sha256sum` prints it. */
export const Sha256 = text(64, /^[0-9a-f]{64}$/, "sha256 must be 64 lower-case hexadecimal digits");

export const HttpSource = z
  .object({
    url: HttpUrl.describe(
      "Address of a .tar, .tar.gz, .tar.zst or .zip archive, http:// or https://. Without user name, password and fragment; what is not ASCII is percent-encoded.",
    ),
    sha256: Sha256.optional().describe(
      "SHA-256 of the archive in 64 lower-case hexadecimal digits. Checked when it is given.",
    ),
  })
  .describe("An archive that is fetched over HTTP.");
export type HttpSource = z.infer<typeof HttpSource>;

export const PvcSource = z
  .object({
    claimName: z
      .string()
      .min(1)
      .max(253)
      .describe("A PersistentVolumeClaim of this namespace. It is mounted read-only."),
    path: text(
      1024,
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
      /^[^\x00-\x1f\x7f]+$/,
      "path must not be empty and not hold control characters",
    )
      .optional()
      .describe("Directory or archive inside the claim, relative to its root. Default: the root."),
  })
  .describe("Files in a PersistentVolumeClaim.");

export const DatasetSource = z
  .object({ http: HttpSource.optional(), pvc: PvcSource.optional() })
  .describe("Where the data are. Set exactly one of `http` and `pvc`.");

export const DatasetFormat = z
  .enum(["imageFolder", "coco", "voc", "yolo", "csv", "videoFolder", "auto"])
  .describe(
    "How labels are laid out. `imageFolder`: one directory for each concept, optionally below directories train, validation (or val, valid, dev) and test. `coco`: images and JSON files of annotations with boxes. `voc`: images and one XML file with boxes for each. `yolo`: images and one text file with boxes for each, in directories named after the splits; data.yaml may name others, or lists of files, as train, val and test. `csv`: images and CSV files that list them, with the columns path and concepts (several are separated by semicolons), or with a row for each box, path, concept, x_min, y_min, x_max and y_max in pixels; both may have the columns split and group, and the first one not_concepts. `videoFolder`: as imageFolder, with videos, of which frames are taken. `auto`: the one of them that the files are in; status.data.format tells which. Classifiers learn from boxes, too.",
  );
export type DatasetFormat = z.infer<typeof DatasetFormat>;

/** Whether a source in this format may have videos, of which frames are taken. */
export const takesFrames = (format: DatasetFormat): boolean =>
  format === "videoFolder" || format === "auto";

export const Splits = z
  .object({
    ratios: z
      .object({
        train: z.number().gt(0).max(1).describe("Share of the items that train the model."),
        validation: z.number().min(0).max(1).describe("Share that chooses the exported epoch."),
        test: z.number().min(0).max(1).describe("Share that is read once, after the export."),
      })
      .optional()
      .describe(
        "Shares of the three splits; they add up to 1. Given, they replace the splits of the source. Default: the source's own splits, else 0.8, 0.1, 0.1.",
      ),
    seed: z
      .int()
      .min(0)
      .max(2 ** 31 - 1)
      .optional()
      .describe("Seed of the assignment. The same seed and items give the same splits. Default 0."),
  })
  .describe("How items are divided into train, validation and test.");

export const DatasetSpec = z
  .object({
    source: DatasetSource,
    format: DatasetFormat,
    framesPerSecond: z
      .number()
      .gt(0)
      .max(60)
      .optional()
      .describe(
        "Frames that are taken of each second of a video. For videoFolder and auto only. Default 1.",
      ),
    splits: Splits.optional(),
    concepts: z
      .array(ConceptName)
      .min(1)
      .max(1000)
      .meta({ "x-kubernetes-list-type": "atomic" })
      .optional()
      .describe(
        "The concepts that the data must have, no more and no fewer. Default: those that are found, in alphabetical order.",
      ),
    tolerance: z
      .object({
        invalidPercent: z
          .number()
          .min(0)
          .max(100)
          .optional()
          .describe("Percentage of items that may be invalid before the import fails. Default 5."),
      })
      .optional()
      .describe("How much invalid data is accepted. Invalid items are left out and counted."),
  })
  .describe("What the user wants.");
export type DatasetSpec = z.infer<typeof DatasetSpec>;

const items = z.int().min(0).max(1_000_000_000);

export const SplitCounts = z
  .object({
    train: items.describe("Items in the train split."),
    validation: items.describe("Items in the validation split."),
    test: items.describe("Items in the test split."),
  })
  .describe("Number of items in each split.");
export type SplitCounts = z.infer<typeof SplitCounts>;

export const ConceptCounts = SplitCounts.extend({
  name: ConceptName,
  boxes: items.optional().describe("Boxes of the concept, where the data have boxes."),
}).describe("Number of items of one concept in each split.");
export type ConceptCounts = z.infer<typeof ConceptCounts>;

export const BadItem = z
  .object({
    path: z.string().max(512).describe("Path of the item inside the source."),
    problem: z.string().max(256).describe("What is wrong with it."),
  })
  .describe("An item that was left out.");

export const DatasetWarning = z
  .object({
    reason: z
      .enum([
        "FewItems",
        "NoHeldOutExamples",
        "NoNegatives",
        "LowSupport",
        "GroupsAcrossSplits",
        "DuplicatesAcrossSplits",
      ])
      .describe("One word for the warning."),
    message: z.string().max(512).describe("What was found, with counts."),
  })
  .describe("Something in the data that may make a model worse.");

export const BoxCounts = SplitCounts.extend({
  train: items.describe("Boxes in the train split."),
  validation: items.describe("Boxes in the validation split."),
  test: items.describe("Boxes in the test split."),
  ignored: items.describe(
    "Boxes that are flagged difficult or crowd: they count neither for the loss nor for the evaluation.",
  ),
  clipped: items.describe("Boxes that reached beyond their image and were clipped to it."),
  small: items.describe("Boxes of less than 32 x 32 pixels of the original image."),
  medium: items.describe("Boxes from 32 x 32 to less than 96 x 96 pixels."),
  large: items.describe("Boxes from 96 x 96 pixels."),
}).describe("Counts of boxes, where the data have boxes.");
export type BoxCounts = z.infer<typeof BoxCounts>;

/** Everything that an import found out; sent to the progress endpoint, kept in the status. */
export const DatasetReport = z
  .object({
    digest: Digest,
    splitDigest: Digest,
    format: DatasetFormat.exclude(["auto"])
      .optional()
      .describe("The format that was found, where spec.format is `auto`."),
    items: SplitCounts,
    concepts: z
      .array(ConceptCounts)
      .max(1000)
      .meta({ "x-kubernetes-list-type": "atomic" })
      .describe("Counts for each concept, in the order of the concepts."),
    boxes: BoxCounts.optional(),
    videos: items.optional().describe("Videos that the frames were taken of."),
    invalid: items.describe("Items that were left out because they are invalid."),
    badItems: z
      .array(BadItem)
      .max(10)
      .meta({ "x-kubernetes-list-type": "atomic" })
      .describe("The first invalid items. All of them are in report.json beside the data."),
    bytes: z.int().min(0).max(Number.MAX_SAFE_INTEGER).describe("Bytes of the items' files."),
    warnings: z
      .array(DatasetWarning)
      .max(10)
      .meta({ "x-kubernetes-list-type": "atomic" })
      .describe("What may make a model worse."),
  })
  .describe("What the import found.");
export type DatasetReport = z.infer<typeof DatasetReport>;

export const DatasetStatus = z
  .object({
    observedGeneration,
    conditions: Conditions.optional(),
    import: z
      .object({
        /** Digest of what is imported: source, format, splits, concepts, tolerance. */
        inputsHash: Digest.describe(
          "Digest of the part of the spec that decides what is imported.",
        ),
        attempt: items.describe("Number of the newest attempt at this import."),
        counted: items.describe("Attempts that count against the budget of 3."),
        job: z.string().max(63).optional().describe("The Job of the newest attempt."),
        jobUid: z.string().max(64).optional().describe("UID of that Job."),
        phase: z
          .enum(["downloading", "checking", "publishing"])
          .optional()
          .describe("What the importer is doing."),
        done: items.optional().describe("Bytes or items done in this phase."),
        total: items.optional().describe("Bytes or items in all, where known."),
        retryAt: time.optional().describe("When the next attempt begins."),
        report: DatasetReport.optional().describe(
          "The report of the running attempt; it becomes `data` when the attempt completes.",
        ),
      })
      .optional()
      .describe("The newest import."),
    data: DatasetReport.optional().describe("The data that are ready for training."),
    dataInputsHash: Digest.optional().describe("The import inputs that `data` was made of."),
    lastHandledRetry,
    summary: z
      .string()
      .max(96)
      .optional()
      .describe("Items, concepts and boxes in one line, for the column of kubectl get."),
  })
  .describe("What is so. Written by the operator only.");
export type DatasetStatus = z.infer<typeof DatasetStatus>;

export const Dataset = z.looseObject({
  metadata: ObjectMeta,
  spec: DatasetSpec,
  status: DatasetStatus.optional(),
});
export type Dataset = z.infer<typeof Dataset>;
