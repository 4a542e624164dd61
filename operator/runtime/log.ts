// Structured logs: one JSON object a line on standard output, without secrets.

import { type DestinationStream, type Logger, pino } from "pino";

export type { Logger };

const CREDENTIALS: ReadonlyArray<readonly [RegExp, string]> = [
  [/\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]+/gi, "$1 [redacted]"],
  // A JSON Web Token, wherever it turns up.
  [/\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*/g, "[redacted]"],
  [/([a-z][a-z0-9+.-]*:\/\/)[^\s/@"\\]+@/gi, "$1[redacted]@"],
  [
    /([?&](?:X-Amz-[A-Za-z]+|sig|signature|token|key|password|secret)=)[^&\s"\\]+/gi,
    "$1[redacted]",
  ],
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----/gs, "[redacted]"],
];

/** The text without anything that looks like a credential. */
export const redacted = (text: string): string =>
  CREDENTIALS.reduce((left, [pattern, instead]) => left.replace(pattern, instead), text);

/** A logger of this level (`debug`, `info`, `warn`, `error`), to standard output unless told otherwise. */
export const createLogger = (level: string, destination?: DestinationStream): Logger =>
  pino(
    {
      level,
      base: {},
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: {
        paths: ["token", "*.token", "authorization", "*.authorization", "password", "*.password"],
        censor: "[redacted]",
      },
      hooks: { streamWrite: redacted },
    },
    destination ?? pino.destination({ fd: 1, sync: true }),
  );
