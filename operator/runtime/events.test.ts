import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { bounded, Events, events } from "./events.ts";
import { FakeApiServer } from "./testing/apiserver.ts";

const about = {
  apiVersion: "example.dev/v1",
  kind: "Widget",
  namespace: "test",
  name: "a",
  uid: "uid-a",
};
const text = {
  type: "Normal",
  reason: "Created",
  action: "CreateJob",
  note: "Created Job a-1",
} as const;

describe("events", () => {
  let server: FakeApiServer;
  let recorder: Events;
  let dropped: string[];

  beforeEach(async () => {
    server = await FakeApiServer.start([{ resource: events, hasStatus: false }]);
    dropped = [];
    recorder = new Events({
      client: await server.client({ mayWrite: () => false }),
      controller: "example.dev/operator",
      instance: "pod-1",
      onDropped: (why) => dropped.push(why),
    });
  });
  afterEach(() => server.stop());

  it("are written in the object's namespace, with all that describe shows", async () => {
    recorder.emit(about, text);
    await recorder.flush();
    const [event] = server.all(events);
    expect(event).toMatchObject({
      metadata: { namespace: "test" },
      reportingController: "example.dev/operator",
      reportingInstance: "pod-1",
      regarding: about,
      ...text,
    });
    expect(event?.eventTime).toMatch(/\.\d{6}Z$/);
  });

  it("that repeat are one event with a count", async () => {
    for (let n = 0; n < 50; n += 1) recorder.emit(about, text);
    recorder.emit(about, { ...text, note: "another" });
    await recorder.flush();
    const all = server.all(events);
    expect(all).toHaveLength(2);
    expect(all.find(({ note }) => note === text.note)?.series).toMatchObject({ count: 50 });
    expect(server.writes).toHaveLength(3);
  });

  it("about one object are cut off when they flood, and about others they are not", async () => {
    for (let n = 0; n < 200; n += 1) recorder.emit(about, { ...text, note: `note ${n}` });
    recorder.emit({ ...about, uid: "uid-b", name: "b" }, text);
    await recorder.flush();
    expect(server.all(events)).toHaveLength(26);
    expect(dropped).toHaveLength(175);
  });

  it("never fail whoever says them", async () => {
    server.faults.add(() => ({ status: 403, message: "no" }));
    recorder.emit(about, text);
    await recorder.flush();
    expect(dropped).toHaveLength(1);
  });

  it("keep their note to one line of a kibibyte, cut between characters", () => {
    const long = bounded(`a\n\tb ${"é".repeat(2_000)}`, 1024);
    expect(Buffer.byteLength(long)).toBeLessThanOrEqual(1024);
    expect(long.startsWith("a b é")).toBe(true);
    expect(long.endsWith("é…")).toBe(true);
  });
});
