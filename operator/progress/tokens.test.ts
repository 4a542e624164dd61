import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { apiServerReviewer, bearerToken, rememberingReviewer } from "./tokens.ts";

describe("an Authorization header", () => {
  it.each([
    ["Bearer abc.DEF-123_~+/=", "abc.DEF-123_~+/="],
    ["bearer abc", "abc"],
    [undefined, undefined],
    ["", undefined],
    ["Bearer", undefined],
    ["Bearer ", undefined],
    ["Bearer  abc", undefined],
    ["Bearer abc def", undefined],
    ["Bearer abc, Bearer def", undefined],
    ["Basic YTpi", undefined],
    ["Token abc", undefined],
    ["abc", undefined],
    ["Bearer a=b", undefined],
    ["Bearer a\u0000b", undefined],
    [`Bearer ${"a".repeat(8_193)}`, undefined],
  ])("%s", (header, want) => {
    expect(bearerToken(header)).toBe(want);
  });
});

describe("a token review", () => {
  const extra = { "authentication.kubernetes.io/pod-uid": ["pod-1"] };
  const good = { authenticated: true, audiences: ["aud"], user: { username: "sa", extra } };
  const review = (status: unknown) =>
    apiServerReviewer({ request: async () => ({ status }) })("token", "aud");

  it("names the pod", async () => {
    expect(await review(good)).toEqual({ podUid: "pod-1" });
  });

  it.each([
    ["not authenticated", { ...good, authenticated: false }],
    ["authenticated as a string", { ...good, authenticated: "true" }],
    ["an error", { ...good, error: "expired" }],
    ["another audience", { ...good, audiences: ["other"] }],
    ["no audience", { ...good, audiences: undefined }],
    ["no pod", { ...good, user: { username: "sa" } }],
    [
      "two pods",
      {
        ...good,
        user: { extra: { ...extra, "authentication.kubernetes.io/pod-uid": ["a", "b"] } },
      },
    ],
    ["no status", undefined],
  ])("says no for %s", async (_, status) => {
    expect(await review(status)).toBeUndefined();
  });

  it("asks for exactly the audience", async () => {
    const request = vi.fn(async () => ({ status: good }));
    await apiServerReviewer({ request })("token", "aud");
    expect(request).toHaveBeenCalledWith(
      expect.objectContaining({
        path: "/apis/authentication.k8s.io/v1/tokenreviews",
        body: expect.objectContaining({ spec: { token: "token", audiences: ["aud"] } }),
      }),
    );
  });
});

describe("a remembered review", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it("believes a yes for ten seconds, for that token and audience", async () => {
    const ask = vi.fn(async () => ({ podUid: "p" }));
    const review = rememberingReviewer(ask);
    await review("t", "a");
    await review("t", "a");
    expect(ask).toHaveBeenCalledTimes(1);
    await review("t", "b");
    await review("u", "a");
    expect(ask).toHaveBeenCalledTimes(3);
    await vi.advanceTimersByTimeAsync(10_001);
    await review("t", "a");
    expect(ask).toHaveBeenCalledTimes(4);
  });

  it("asks again after a no, and after no answer", async () => {
    const ask = vi
      .fn<() => Promise<{ podUid: string } | undefined>>()
      .mockResolvedValueOnce(undefined)
      .mockRejectedValueOnce(new Error("down"))
      .mockResolvedValue({ podUid: "p" });
    const review = rememberingReviewer(ask);
    expect(await review("t", "a")).toBeUndefined();
    await expect(review("t", "a")).rejects.toThrow("down");
    expect(await review("t", "a")).toEqual({ podUid: "p" });
  });

  it("asks once for many at the same time", async () => {
    const ask = vi.fn(async () => ({ podUid: "p" }));
    const review = rememberingReviewer(ask);
    await Promise.all(Array.from({ length: 50 }, () => review("t", "a")));
    expect(ask).toHaveBeenCalledTimes(1);
  });
});
