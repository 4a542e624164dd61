import { describe, expect, it } from "vitest";
import { createLogger } from "./log.ts";

describe("a log line", () => {
  const written = (write: (log: ReturnType<typeof createLogger>) => void) => {
    const lines: string[] = [];
    write(createLogger("info", { write: (line) => void lines.push(line) }));
    return lines;
  };

  it("is one JSON object with a level and a time", () => {
    const [line = ""] = written((log) => log.info({ key: "ns/a" }, "hello"));
    const parsed: unknown = JSON.parse(line);
    expect(parsed).toMatchObject({ level: "info", key: "ns/a", msg: "hello" });
    expect(parsed).toHaveProperty("time");
  });

  it("is left out under its level", () => {
    expect(written((log) => log.debug("hello"))).toEqual([]);
  });

  it.each([
    ["a header", { authorization: "Bearer CANARY" }, "x"],
    ["a field", { request: { token: "CANARY" } }, "x"],
    ["a message", {}, "sent Authorization: Bearer CANARY-1.2_3"],
    ["a JSON Web Token", {}, "got eyJhbGciOiJSUzI1NiJ9.eyJCANARYaaaaaa.CANARY"],
    ["an address", {}, "fetching https://user:CANARY@example.com/x.zip"],
    ["a signed address", {}, "fetching https://example.com/x.zip?a=1&X-Amz-Signature=CANARY&b=2"],
    ["an error", { err: new Error("refused: Bearer CANARY") }, "x"],
    ["a key", { pem: "-----BEGIN PRIVATE KEY-----\nCANARY\n-----END PRIVATE KEY-----" }, "x"],
  ])("does not hold a credential that came in %s", (_, fields, message) => {
    const [line = ""] = written((log) => log.error(fields, message));
    expect(line).not.toContain("CANARY");
    expect(line).toContain("[redacted]");
    expect(() => JSON.parse(line)).not.toThrow();
  });
});
