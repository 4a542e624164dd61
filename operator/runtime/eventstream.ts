// Newline-separated JSON events out of a stream of bytes, as a watch sends them.

import { ApiError } from "./apierror.ts";
import { isRecord } from "./object.ts";

export interface WatchEvent {
  /** `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`. */
  readonly type: string;
  readonly object: unknown;
}

/** No object of the API server is larger than its storage's limit of a few MiB. */
const LINE_MAX_BYTES = 16 * 1024 * 1024;
const NEWLINE = 0x0a;

/**
 * The events of a stream, cut at line ends and never inside a character. `heard` is called for every chunk. Rejects
 * with `ApiError` on what is no event, and when the stream breaks; ends when it ends between two events.
 */
export async function* eventsOf(
  stream: AsyncIterable<Uint8Array>,
  heard: () => void,
): AsyncGenerator<WatchEvent> {
  let parts: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const piece of stream) {
      heard();
      let chunk = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
      for (;;) {
        const end = chunk.indexOf(NEWLINE);
        if (end < 0) break;
        parts.push(chunk.subarray(0, end));
        const line = parts.length === 1 ? parts[0] : Buffer.concat(parts);
        parts = [];
        bytes = 0;
        chunk = chunk.subarray(end + 1);
        if (line !== undefined && line.length > 0) yield eventOf(line);
      }
      if (chunk.length > 0) parts.push(chunk);
      bytes += chunk.length;
      if (bytes > LINE_MAX_BYTES) throw broken("an event of more than 16 MiB");
    }
  } catch (error) {
    throw error instanceof ApiError ? error : broken(String(error), error);
  }
  if (bytes > 0) throw broken("cut inside an event");
}

const eventOf = (line: Buffer): WatchEvent => {
  let event: unknown;
  try {
    event = JSON.parse(line.toString("utf8"));
  } catch (cause) {
    throw broken("an event that is not JSON", cause);
  }
  if (!isRecord(event) || typeof event.type !== "string") throw broken("an event without a type");
  return { type: event.type, object: event.object };
};

const broken = (what: string, cause?: unknown): ApiError =>
  new ApiError(0, "Unreachable", `the watch broke: ${what}`, { cause });
