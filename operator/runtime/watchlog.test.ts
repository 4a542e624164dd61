import { expect, it } from "vitest";
import { widgets } from "./testing/kinds.ts";
import { watchLog } from "./watchlog.ts";

it("logs a new problem of a resource at once, and the same one once a minute", () => {
  const lines: string[] = [];
  let now = 0;
  const log = { warn: (fields: object) => lines.push(JSON.stringify(fields)) };
  const tell = watchLog(log, () => now);
  const failure = (problem: string, of = widgets) =>
    tell({ resource: of, verb: "list", error: undefined, problem, failures: 1, pauseMs: 4.6 });
  failure("not there");
  failure("not there");
  failure("not there", { ...widgets, plural: "gadgets" });
  expect(lines).toHaveLength(2);
  now = 59_999;
  failure("not there");
  expect(lines).toHaveLength(2);
  now = 60_000;
  failure("not there");
  failure("forbidden");
  expect(lines).toHaveLength(4);
  expect(JSON.parse(lines[3] ?? "")).toEqual({
    verb: "list",
    resource: "widgets",
    apiVersion: "example.dev/v1",
    problem: "forbidden",
    failures: 1,
    retryInMs: 5,
  });
});
