// The small world of shapes.ts as archives in the layouts that detectors learn from: the same pictures, boxes and splits
// in each.

import { tarGz } from "../../demo/tar.ts";
import { type Picture, picture, SIDE, shapes } from "./shapes.ts";

const splits = ["train", "val", "test"] as const;
type Split = (typeof splits)[number];
export type ShapeCounts = Record<Split, number>;

interface Named extends Picture {
  name: string;
  number: number;
}

/** Pictures of the splits follow one another by their numbers. */
async function pictures(counts: ShapeCounts): Promise<Record<Split, Named[]>> {
  const found: Record<Split, Named[]> = { train: [], val: [], test: [] };
  let number = 0;
  for (const split of splits) {
    for (let i = 0; i < counts[split]; i++, number++) {
      const name = `shape-${String(number).padStart(4, "0")}`;
      found[split].push({ name, number, ...(await picture(number)) });
    }
  }
  return found;
}

/** VOC counts pixels from 1, and the last one belongs to the box. */
const vocAnnotation = ({ name, boxes }: Named): string =>
  `<annotation><filename>${name}.png</filename>
<size><width>${SIDE}</width><height>${SIDE}</height><depth>3</depth></size>
${boxes
  .map(
    ({ shape, corners: [left, top, right, bottom] }) =>
      `<object><name>${shape}</name><difficult>0</difficult><bndbox><xmin>${left + 1}</xmin><ymin>${top + 1}</ymin><xmax>${right}</xmax><ymax>${bottom}</ymax></bndbox></object>`,
  )
  .join("\n")}
</annotation>`;

/** A .tar.gz in the layout of Pascal VOC. */
export async function vocArchive(counts: ShapeCounts): Promise<Buffer> {
  const files: Record<string, Buffer | string> = {};
  for (const [split, made] of Object.entries(await pictures(counts))) {
    for (const one of made) {
      files[`VOC/JPEGImages/${one.name}.png`] = one.png;
      files[`VOC/Annotations/${one.name}.xml`] = vocAnnotation(one);
    }
    files[`VOC/ImageSets/Main/${split}.txt`] = made.map(({ name }) => `${name}\n`).join("");
  }
  return tarGz(files);
}

/** A .tar.gz as COCO is published: a folder of pictures and a file of annotations for each split. */
export async function cocoArchive(counts: ShapeCounts): Promise<Buffer> {
  const files: Record<string, Buffer | string> = {};
  const categories = shapes.map((name, index) => ({ id: 10 * (index + 1), name }));
  for (const [split, made] of Object.entries(await pictures(counts))) {
    for (const { name, png } of made) files[`${split}2017/${name}.png`] = png;
    const annotations = made.flatMap(({ number, boxes }) =>
      boxes.map(({ shape, corners: [left, top, right, bottom] }, place) => ({
        id: 10 * number + place,
        image_id: number,
        category_id: 10 * (shapes.indexOf(shape) + 1),
        bbox: [left, top, right - left, bottom - top],
        area: (right - left) * (bottom - top),
        iscrowd: 0,
      })),
    );
    const images = made.map(({ name, number }) => ({
      id: number,
      file_name: `${name}.png`,
      width: SIDE,
      height: SIDE,
    }));
    files[`annotations/instances_${split}2017.json`] = JSON.stringify({
      images,
      annotations,
      categories,
    });
  }
  return tarGz(files);
}

/** A .tar.gz of pictures and one CSV file: what each shows, and of one in three that no more is known. */
export async function csvArchive(counts: ShapeCounts): Promise<Buffer> {
  const rows = ["path,concepts,not_concepts,split"];
  const files: Record<string, Buffer | string> = {};
  for (const [split, made] of Object.entries(await pictures(counts))) {
    for (const { name, number, png, boxes } of made) {
      files[`images/${name}.png`] = png;
      const shown = [...new Set(boxes.map(({ shape }) => shape))];
      const absent = shapes.filter((shape) => !shown.includes(shape));
      const denied = number % 3 === 0 ? [] : absent;
      rows.push([`images/${name}.png`, shown.join(";"), denied.join(";"), split].join(","));
    }
  }
  files["labels.csv"] = `${rows.join("\n")}\n`;
  return tarGz(files);
}

/** A .tar.gz in the layout of YOLO, with a data.yaml that names the folders. */
export async function yoloArchive(counts: ShapeCounts): Promise<Buffer> {
  const names = shapes.map((name, index) => `  ${index}: ${name}\n`).join("");
  const folders = splits.map((split) => `${split}: images/${split}\n`).join("");
  const files: Record<string, Buffer | string> = { "data.yaml": `${folders}names:\n${names}` };
  for (const [split, made] of Object.entries(await pictures(counts))) {
    for (const { name, png, boxes } of made) {
      files[`images/${split}/${name}.png`] = png;
      files[`labels/${split}/${name}.txt`] = boxes
        .map(({ shape, corners: [left, top, right, bottom] }) => {
          const centre = [(left + right) / 2, (top + bottom) / 2];
          const shares = [...centre, right - left, bottom - top].map((pixels) => pixels / SIDE);
          return `${shapes.indexOf(shape)} ${shares.join(" ")}\n`;
        })
        .join("");
    }
  }
  return tarGz(files);
}
