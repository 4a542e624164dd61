// Whose token it is: the API server says so, for one audience; a yes is believed for a few seconds.

import { createHash } from "node:crypto";
import type { Client } from "../runtime/client.ts";
import { isRecord } from "../runtime/object.ts";

/** The pod that a token was made for. Undefined: not a valid token for that audience, or not a pod's. */
export type TokenReviewer = (
  token: string,
  audience: string,
) => Promise<{ readonly podUid: string } | undefined>;

const POD_UID = "authentication.kubernetes.io/pod-uid";

/** Asks the API server. Rejects with `ApiError` where it gives no answer. */
export const apiServerReviewer =
  (client: Pick<Client, "request">): TokenReviewer =>
  async (token, audience) => {
    const answer = await client.request({
      method: "POST",
      path: "/apis/authentication.k8s.io/v1/tokenreviews",
      body: {
        apiVersion: "authentication.k8s.io/v1",
        kind: "TokenReview",
        spec: { token, audiences: [audience] },
      },
      timeoutMs: 5_000,
    });
    const status = isRecord(answer) && isRecord(answer.status) ? answer.status : {};
    const { authenticated, audiences, user, error } = status;
    if (authenticated !== true || (typeof error === "string" && error !== "")) return undefined;
    // An API server that does not know audiences leaves them out: then the token says nothing.
    if (!Array.isArray(audiences) || !audiences.includes(audience)) return undefined;
    const extra = isRecord(user) && isRecord(user.extra) ? user.extra : {};
    const uids = extra[POD_UID];
    const podUid = Array.isArray(uids) && uids.length === 1 ? uids[0] : undefined;
    return typeof podUid === "string" && podUid !== "" ? { podUid } : undefined;
  };

const BELIEVED_FOR_MS = 10_000;
const REMEMBERED = 2_000;

/** Remembers a yes for ten seconds, by the hash of token and audience; a no is asked again. */
export const rememberingReviewer = (review: TokenReviewer): TokenReviewer => {
  const known = new Map<string, { readonly podUid: string; readonly until: number }>();
  const asking = new Map<string, ReturnType<TokenReviewer>>();
  return async (token, audience) => {
    const key = createHash("sha256").update(`${audience}\0${token}`).digest("base64");
    const hit = known.get(key);
    if (hit !== undefined && performance.now() < hit.until) return { podUid: hit.podUid };
    known.delete(key);
    const asked = asking.get(key);
    if (asked !== undefined) return asked;
    const question = review(token, audience).finally(() => asking.delete(key));
    asking.set(key, question);
    const answer = await question;
    if (answer !== undefined) {
      known.set(key, { podUid: answer.podUid, until: performance.now() + BELIEVED_FOR_MS });
      if (known.size > REMEMBERED) known.delete(known.keys().next().value ?? key);
    }
    return answer;
  };
};

/** No projected token is longer; a header of the server's limit would be another's mistake. */
const TOKEN_MAX_CHARS = 8_192;

/** The token of an `Authorization` header (RFC 6750): one scheme, one space, one token. */
export const bearerToken = (header: string | undefined): string | undefined => {
  const match = /^bearer ([A-Za-z0-9._~+/-]+=*)$/i.exec(header ?? "");
  const token = match?.[1];
  return token === undefined || token.length > TOKEN_MAX_CHARS ? undefined : token;
};
