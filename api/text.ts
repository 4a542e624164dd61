// Strings of a pattern, with words for what is allowed.

import { z } from "zod";

/**
 * @param maxLength most characters.
 * @param pattern anchored, in the common part of JavaScript, RE2 and Python. Not shown to users.
 * @param message what the string must be: it is shown instead.
 */
export const text = (maxLength: number, pattern: RegExp, message: string): z.ZodString =>
  z.string().max(maxLength).regex(pattern, message).meta({ patternMessage: message });
