// A request that the API server refused, or that never reached it.

import { isRecord } from "./object.ts";

export interface Cause {
  readonly field: string;
  readonly message: string;
}

export class ApiError extends Error {
  /** HTTP status; 0 when there was no answer. */
  readonly code: number;
  /** `NotFound`, `AlreadyExists`, `Conflict`, `Invalid`, ...; `Unreachable` when there was no answer. */
  readonly reason: string;
  readonly retryAfterSeconds: number | undefined;
  /** The fields that a 422 names. */
  readonly causes: readonly Cause[];

  constructor(
    code: number,
    reason: string,
    message: string,
    extra: {
      retryAfterSeconds?: number | undefined;
      causes?: readonly Cause[];
      cause?: unknown;
    } = {},
  ) {
    super(message, extra.cause === undefined ? {} : { cause: extra.cause });
    this.name = "ApiError";
    this.code = code;
    this.reason = reason;
    this.retryAfterSeconds = extra.retryAfterSeconds;
    this.causes = extra.causes ?? [];
  }
}

/** A write that was not sent because this process no longer leads. */
export class NotLeading extends Error {
  constructor() {
    super("not sent: the lease is not held");
    this.name = "NotLeading";
  }
}

export const isApiError = (error: unknown, reason?: string): error is ApiError =>
  error instanceof ApiError && (reason === undefined || error.reason === reason);
export const isNotFound = (error: unknown): error is ApiError =>
  error instanceof ApiError && error.code === 404;
export const isConflict = (error: unknown): error is ApiError => isApiError(error, "Conflict");
export const isAlreadyExists = (error: unknown): error is ApiError =>
  isApiError(error, "AlreadyExists");
/** Asked too much of: `retryAfterSeconds` says for how long, where the API server did. */
export const isThrottled = (error: unknown): error is ApiError =>
  error instanceof ApiError && error.code === 429;
/** Refused for good: the same request will be refused again until something else changes. */
export const isRefused = (error: unknown): error is ApiError =>
  error instanceof ApiError && (error.code === 400 || error.code === 403 || error.code === 422);
/** The API server, or a webhook that it asked, could not answer. */
export const isInternal = (error: unknown): error is ApiError =>
  error instanceof ApiError && error.code === 500;

/** Longer than the API server or its storage takes. */
export const isTooLarge = (error: unknown): error is ApiError =>
  error instanceof ApiError && (error.code === 413 || /request is too large/.test(error.message));

const MESSAGE_MAX_CHARS = 2000;

/** Reads the `Status` body of a refused request; a proxy's or load balancer's page becomes its first words. */
export const errorFromResponse = (
  code: number,
  body: string,
  retryAfter: string | undefined,
): ApiError => {
  const status = parseStatus(body);
  const details = status !== undefined && isRecord(status.details) ? status.details : {};
  const seconds = retryAfterSeconds(retryAfter) ?? retryAfterSeconds(details.retryAfterSeconds);
  const reason =
    typeof status?.reason === "string" && status.reason !== "" ? status.reason : reasonOf(code);
  const message = typeof status?.message === "string" ? status.message : body.trim();
  return new ApiError(code, reason, message.slice(0, MESSAGE_MAX_CHARS) || reason, {
    retryAfterSeconds: seconds,
    causes: causesOf(details.causes),
  });
};

const parseStatus = (body: string): Record<string, unknown> | undefined => {
  try {
    const parsed: unknown = JSON.parse(body);
    return isRecord(parsed) && parsed.kind === "Status" ? parsed : undefined;
  } catch {
    return undefined;
  }
};

const causesOf = (causes: unknown): Cause[] =>
  !Array.isArray(causes)
    ? []
    : causes.filter(isRecord).map(({ field, message }) => ({
        field: typeof field === "string" ? field : "",
        message: typeof message === "string" ? message.slice(0, MESSAGE_MAX_CHARS) : "",
      }));

const retryAfterSeconds = (value: unknown): number | undefined => {
  const seconds = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  return typeof seconds === "number" && Number.isFinite(seconds) && seconds >= 0
    ? seconds
    : undefined;
};

const reasons: Readonly<Record<number, string>> = {
  400: "BadRequest",
  401: "Unauthorized",
  403: "Forbidden",
  404: "NotFound",
  409: "Conflict",
  410: "Gone",
  422: "Invalid",
  429: "TooManyRequests",
  500: "InternalError",
  503: "ServiceUnavailable",
  504: "Timeout",
};
const reasonOf = (code: number): string => reasons[code] ?? `HTTP${code}`;
