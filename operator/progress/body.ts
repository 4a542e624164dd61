// The body of a request, never more of it in memory than is allowed.

import type { IncomingMessage } from "node:http";

export type Body =
  | { readonly ok: true; readonly bytes: Buffer }
  | { readonly ok: false; readonly status: 400 | 408 | 413 | 503 };

/** Memory for the bodies that are being read, of all requests together. */
export class BodyBudget {
  #left: number;

  constructor(bytes: number) {
    this.#left = bytes;
  }

  take(bytes: number): boolean {
    if (bytes > this.#left) return false;
    this.#left -= bytes;
    return true;
  }
  give(bytes: number): void {
    this.#left += bytes;
  }
}

/**
 * Reads a body: 413 as soon as it is known to be too long, 408 where it takes longer than `timeoutMs` in all, however
 * steadily it drips, 503 where the budget is spent.
 */
export const readBody = (
  request: IncomingMessage,
  maxBytes: number,
  timeoutMs: number,
  budget: BodyBudget,
): Promise<Body> => {
  const declared = request.headers["content-length"];
  if (declared !== undefined && Number(declared) > maxBytes) {
    return Promise.resolve({ ok: false, status: 413 });
  }
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const end = (body: Body) => {
      clearTimeout(timer);
      request.off("data", read);
      budget.give(bytes);
      bytes = 0;
      resolve(body);
    };
    const read = (chunk: Buffer) => {
      if (bytes + chunk.length > maxBytes) return end({ ok: false, status: 413 });
      if (!budget.take(chunk.length)) return end({ ok: false, status: 503 });
      bytes += chunk.length;
      chunks.push(chunk);
    };
    const timer = setTimeout(() => end({ ok: false, status: 408 }), timeoutMs);
    request.on("data", read);
    request.once("end", () => end({ ok: true, bytes: Buffer.concat(chunks) }));
    request.once("error", () => end({ ok: false, status: 400 }));
    request.once("close", () => end({ ok: false, status: 400 }));
  });
};
