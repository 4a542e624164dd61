// Is there room for gigabytes? Asked before minutes are spent, not when the disk is full.
import { stat, statfs } from "node:fs/promises";
import { dirname } from "node:path";

/** What will be written below a folder, which need not exist yet. */
export interface DiskNeed {
  readonly folder: string;
  readonly gigabytes: number;
}

/** A file system, what is to be written to it, and what is free on it. */
export interface DiskRoom {
  readonly folder: string;
  /** Names the file system: folders of one share its room. */
  readonly device: number;
  readonly gigabytes: number;
  readonly freeGigabytes: number;
}

/** One line that says which file system has too little room for all that goes to it, or undefined. */
export function shortage(what: string, rooms: readonly DiskRoom[]): string | undefined {
  for (const { device, freeGigabytes } of rooms) {
    const same = rooms.filter((room) => room.device === device);
    const needed = same.reduce((total, room) => total + room.gigabytes, 0);
    if (needed > freeGigabytes) {
      const folders = same.map(({ folder }) => folder).join(" and ");
      return `${what} needs ${needed.toFixed(0)} GB of disk (${folders}), and ${freeGigabytes.toFixed(1)} GB are free`;
    }
  }
  return undefined;
}

/** Looks at the file systems that the folders are or will be on. */
export function diskRooms(needs: readonly DiskNeed[]): Promise<DiskRoom[]> {
  return Promise.all(
    needs.map(async (need) => {
      const folder = await nearest(need.folder);
      const [{ dev }, { bavail, bsize }] = await Promise.all([stat(folder), statfs(folder)]);
      return { ...need, device: dev, freeGigabytes: (bavail * bsize) / 1e9 };
    }),
  );
}

async function nearest(folder: string): Promise<string> {
  const isThere = await stat(folder).then(
    () => true,
    () => false,
  );
  return isThere ? folder : nearest(dirname(folder));
}
