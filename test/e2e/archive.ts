// Archives for the end-to-end tests: real product photos (Fashion-MNIST) in the layout imageFolder.

import { type Counts, imageFolder } from "../../demo/photos.ts";
import { tarGz } from "../../demo/tar.ts";

/** Files that are added to the photos, or put in their place, by their path. */
export type Extra = Record<string, Buffer | string>;

/** A .tar.gz of `counts` photos for each of ten concepts. */
export async function photoArchive(counts: Counts, extra: Extra = {}): Promise<Buffer> {
  return tarGz({ ...(await imageFolder(counts)), ...extra });
}
