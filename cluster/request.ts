// The few requests the cluster itself makes to its own servers.
import { readFile } from "node:fs/promises";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Certificate } from "./certificates.ts";

export interface Identity {
  /** Path of the authority's certificate. */
  readonly ca: string;
  readonly client: Certificate;
}

export interface Answer {
  readonly status: number;
  readonly body: string;
}

/** One GET; rejects only when there is no answer. */
export async function get(url: string, identity?: Identity): Promise<Answer> {
  const tls = identity && {
    ca: await readFile(identity.ca),
    cert: await readFile(identity.client.cert),
    key: await readFile(identity.client.key),
  };
  return new Promise((resolve, reject) => {
    const open = url.startsWith("https:") ? httpsRequest : httpRequest;
    const request = open(url, { ...tls, agent: false, timeout: 5000 }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.once("error", reject);
      response.once("end", () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
      );
    });
    request.once("timeout", () => request.destroy(new Error(`${url}: no answer within 5 s`)));
    request.once("error", reject);
    request.end();
  });
}
