// A small world to detect: discs, squares and crosses on a noisy ground. Every picture is a function of its number, so
// that the same archive comes out of every run.

import sharp from "sharp";

export const shapes = ["cross", "disc", "square"] as const;
type Shape = (typeof shapes)[number];

export const SIDE = 192;
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
