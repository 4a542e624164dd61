// A small world to detect: discs, squares and crosses on a noisy ground, annotated as Pascal VOC does. Every picture
// is a function of its number, so that the same archive comes out of every run.

import sharp from "sharp";
import { tarGz } from "../../demo/tar.ts";

export const shapes = ["cross", "disc", "square"] as const;
type Shape = (typeof shapes)[number];

const SIDE = 192;
const CELL = SIDE / 2;
const colours: Record<Shape, string> = { cross: "#c03030", disc: "#2f6fd0", square: "#2f9a50" };

export interface Box {
  shape: Shape;
  /** Corners in pixels; the second one is exclusive. */
  corners: [number, number, number, number];
}

export interface Picture {
  png: Buffer;
  boxes: Box[];
}

/** Numbers in [0, 1) that follow from a seed (Numerical Recipes' linear congruence). */
function numbers(seed: number): () => number {
  let state = (seed * 2654435761 + 12345) >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

function drawn({ shape, corners: [left, top, right, bottom] }: Box): string {
  const fill = `fill="${colours[shape]}"`;
  const [width, height] = [right - left, bottom - top];
  switch (shape) {
    case "disc":
      return `<ellipse cx="${left + width / 2}" cy="${top + height / 2}" rx="${width / 2}" ry="${height / 2}" ${fill}/>`;
    case "square":
      return `<rect x="${left}" y="${top}" width="${width}" height="${height}" ${fill}/>`;
    case "cross":
      return (
        `<rect x="${left}" y="${top + height / 3}" width="${width}" height="${height / 3}" ${fill}/>` +
        `<rect x="${left + width / 3}" y="${top}" width="${width / 3}" height="${height}" ${fill}/>`
      );
  }
}

/** One to three shapes, each in a quarter of its own. */
export async function picture(number: number): Promise<Picture> {
  const next = numbers(number);
  const boxes: Box[] = [];
  const first = Math.floor(next() * 4);
  const count = 1 + Math.floor(next() * 3);
  for (let i = 0; i < count; i++) {
    const quarter = (first + i) % 4;
    const size = Math.round(40 + next() * 40);
    const left = (quarter % 2) * CELL + Math.floor(next() * (CELL - size));
    const top = Math.floor(quarter / 2) * CELL + Math.floor(next() * (CELL - size));
    const shape = shapes[(number + i) % shapes.length] ?? "disc";
    boxes.push({ shape, corners: [left, top, left + size, top + size] });
  }
  const ground = Buffer.alloc(SIDE * SIDE * 3);
  for (let i = 0; i < ground.length; i++) ground[i] = 150 + Math.floor(next() * 80);
  const overlay = Buffer.from(
    `<svg width="${SIDE}" height="${SIDE}" xmlns="http://www.w3.org/2000/svg">${boxes.map(drawn).join("")}</svg>`,
  );
  const png = await sharp(ground, { raw: { width: SIDE, height: SIDE, channels: 3 } })
    .composite([{ input: overlay }])
    .png()
    .toBuffer();
  return { png, boxes };
}

/** VOC counts pixels from 1, and the last one belongs to the box. */
const annotation = (name: string, { boxes }: Picture): string =>
  `<annotation><filename>${name}.png</filename>
<size><width>${SIDE}</width><height>${SIDE}</height><depth>3</depth></size>
${boxes
  .map(
    ({ shape, corners: [left, top, right, bottom] }) =>
      `<object><name>${shape}</name><difficult>0</difficult><bndbox><xmin>${left + 1}</xmin><ymin>${top + 1}</ymin><xmax>${right}</xmax><ymax>${bottom}</ymax></bndbox></object>`,
  )
  .join("\n")}
</annotation>`;

export interface ShapeCounts {
  train: number;
  val: number;
  test: number;
}

/** A .tar.gz in the layout of Pascal VOC. Pictures of the splits follow one another by their numbers. */
export async function vocArchive({ train, val, test }: ShapeCounts): Promise<Buffer> {
  const files: Record<string, Buffer | string> = {};
  const names: string[] = [];
  for (let number = 0; number < train + val + test; number++) {
    const name = `shape-${String(number).padStart(4, "0")}`;
    const made = await picture(number);
    files[`VOC/JPEGImages/${name}.png`] = made.png;
    files[`VOC/Annotations/${name}.xml`] = annotation(name, made);
    names.push(name);
  }
  const list = (from: number, to: number): string => `${names.slice(from, to).join("\n")}\n`;
  files["VOC/ImageSets/Main/train.txt"] = list(0, train);
  files["VOC/ImageSets/Main/val.txt"] = list(train, train + val);
  files["VOC/ImageSets/Main/test.txt"] = list(train + val, train + val + test);
  return tarGz(files);
}
