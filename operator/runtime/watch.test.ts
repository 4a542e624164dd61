import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Cache } from "./cache.ts";
import type { Client } from "./client.ts";
import { FakeApiServer } from "./testing/apiserver.ts";
import { eventually } from "./testing/eventually.ts";
import { all, type Widget, widget, widgetCache, widgets } from "./testing/kinds.ts";
import { Watch, type WatchOptions } from "./watch.ts";

describe("a watch", () => {
  let server: FakeApiServer;
  let client: Client;
  let cache: Cache<Widget>;
  let watch: Watch<Widget>;
  let changes: string[];
  let failures: string[];

  const begin = (options: WatchOptions = {}) => {
    cache = new Cache(widgetCache);
    cache.onChange(({ key, before, after, initial }) => {
      const how = before === undefined ? "added" : after === undefined ? "deleted" : "changed";
      changes.push(`${initial ? "initial " : ""}${how} ${key}`);
    });
    watch = new Watch(client, cache, {
      retry: { minMs: 5, maxMs: 20 },
      onFailure: ({ error }) => failures.push(String(error)),
      ...options,
    }).start();
    return watch.synced;
  };
  const size = (name: string) => cache.get(`test/${name}`)?.size;
  const lists = () => server.journal.filter(({ verb }) => verb === "list").length;
  const streaming = () => eventually(() => server.watches.count === 1);

  beforeEach(async () => {
    server = await FakeApiServer.start(all.map((resource) => ({ resource })));
    client = await server.client();
    changes = [];
    failures = [];
    server.put(widgets, widget("a", 1));
  });
  afterEach(async () => {
    await watch?.stop();
    await server.stop();
  });

  it("lists, then follows what is added, changed and deleted", async () => {
    await begin();
    await streaming();
    server.put(widgets, widget("b", 2));
    server.put(widgets, widget("a", 3));
    await eventually(() => size("b") === 2 && size("a") === 3);
    server.remove(widgets, "test/b");
    await eventually(() => !cache.has("test/b"));
    expect(changes).toEqual([
      "initial added test/a",
      "added test/b",
      "changed test/a",
      "deleted test/b",
    ]);
    expect(failures).toEqual([]);
  });

  it("reads a long list in pages", async () => {
    for (let n = 0; n < 1203; n += 1) server.put(widgets, widget(`w${n}`, n));
    await begin();
    expect(cache.size).toBe(1204);
    expect(lists()).toBe(3);
  });

  it("starts a paged list again when its continuation has expired", async () => {
    for (let n = 0; n < 600; n += 1) server.put(widgets, widget(`w${n}`, n));
    server.faults.times(1, ({ verb, call }) => verb === "list" && call === 2, {
      status: 410,
      reason: "Expired",
    });
    await begin();
    expect(cache.size).toBe(601);
  });

  it.each([500, 503, 429, 403, 404])(
    "goes on after a list that is refused with %i",
    async (status) => {
      server.faults.times(6, ({ verb }) => verb === "list", { status, retryAfterSeconds: 0 });
      await begin();
      expect(size("a")).toBe(1);
    },
  );

  it("says why it is not synced, and forgets it when it is", async () => {
    const fix = server.faults.add(({ verb }) =>
      verb === "list" ? { status: 403, message: "widgets is forbidden" } : undefined,
    );
    const synced = begin();
    await eventually(() => watch.problem?.includes("widgets is forbidden"));
    expect(cache.synced).toBe(false);
    fix();
    await synced;
    expect(watch.problem).toBeUndefined();
  });

  it("goes on from where it was after a socket that breaks in the middle of an event", async () => {
    await begin();
    await streaming();
    server.watches.cut();
    server.put(widgets, widget("b", 2));
    await eventually(() => size("b") === 2);
    expect(lists()).toBe(1);
  });

  it.each([500, 503, 429])("goes on after a watch that is refused with %i", async (status) => {
    server.faults.times(1, ({ verb }) => verb === "watch", { status, retryAfterSeconds: 0 });
    await begin();
    server.put(widgets, widget("b", 2));
    await eventually(() => size("b") === 2);
  });

  it("lists again after 410, and notices what was deleted meanwhile", async () => {
    server.put(widgets, widget("b", 2));
    await begin();
    await streaming();
    server.watches.hold();
    server.remove(widgets, "test/b");
    server.put(widgets, widget("c", 3));
    server.watches.compact();
    server.watches.release(() => []);
    await eventually(() => !cache.has("test/b") && size("c") === 3);
    expect(lists()).toBe(2);
    expect(changes.slice(-2).sort()).toEqual(["added test/c", "deleted test/b"]);
  });

  it("does not list again for ever when every watch answers 410", async () => {
    await begin({ retry: { minMs: 40, maxMs: 40 } });
    await streaming();
    server.faults.add(({ verb }) => (verb === "watch" ? { status: 410 } : undefined));
    server.watches.compact();
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(lists()).toBeLessThan(15);
  });

  it("takes the version of bookmarks, so that a quiet kind is not listed again", async () => {
    await begin();
    await streaming();
    server.storage.version += 500;
    server.watches.bookmark();
    await new Promise((resolve) => setTimeout(resolve, 30));
    server.watches.forget();
    server.watches.end();
    await eventually(() => server.watches.opened === 2);
    server.put(widgets, widget("b", 2));
    await eventually(() => size("b") === 2);
    expect(lists()).toBe(1);
  });

  it("replaces a watch that went silent, as a half-open connection does", async () => {
    await begin({ inactivityMs: 100 });
    await streaming();
    server.watches.silence();
    server.put(widgets, widget("b", 2));
    await eventually(() => size("b") === 2, 2_000);
    expect(server.watches.opened).toBeGreaterThan(1);
  });

  it("does not replace a watch that is quiet but alive", async () => {
    await begin({ inactivityMs: 1_200 });
    await streaming();
    for (let n = 0; n < 6; n += 1) {
      await new Promise((resolve) => setTimeout(resolve, 250));
      server.watches.bookmark();
    }
    expect(server.watches.opened).toBe(1);
  });

  it("finds a lost event at the next list", async () => {
    await begin({ relistMs: 200 });
    await streaming();
    server.watches.shape(({ object }) => (object.metadata.name === "b" ? 0 : 1));
    server.put(widgets, widget("b", 2));
    server.put(widgets, widget("c", 3));
    await eventually(() => size("c") === 3);
    expect(size("b")).toBeUndefined();
    await eventually(() => size("b") === 2);
  });

  it("tells of repeated events once", async () => {
    await begin();
    await streaming();
    server.watches.shape(() => 3);
    server.put(widgets, widget("b", 2));
    server.put(widgets, widget("c", 2));
    await eventually(() => size("c") === 2);
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(changes).toEqual(["initial added test/a", "added test/b", "added test/c"]);
  });

  it("ends with the newest objects when events come in the wrong order", async () => {
    await begin();
    await streaming();
    server.watches.hold();
    server.put(widgets, widget("b", 1));
    server.put(widgets, widget("a", 5));
    server.put(widgets, widget("b", 2));
    server.put(widgets, widget("gone", 2));
    server.remove(widgets, "test/gone");
    server.watches.release((events) => events.reverse());
    await eventually(() => size("b") === 2 && size("a") === 5);
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(cache.has("test/gone")).toBe(false);
    expect(cache.size).toBe(2);
  });

  it("does not let a stale list undo or revive anything", async () => {
    await begin({ relistMs: 150 });
    await streaming();
    server.freezeLists();
    server.put(widgets, widget("a", 7));
    server.put(widgets, widget("b", 2));
    await eventually(() => size("a") === 7 && size("b") === 2);
    const before = changes.length;
    await eventually(() => lists() >= 2);
    await eventually(() => failures.some((failure) => failure.includes("the list is of version")));
    expect(size("a")).toBe(7);
    expect(size("b")).toBe(2);
    expect(changes.length).toBe(before);
  });

  it("believes a storage that really went back in time, after asking several times", async () => {
    await begin({ relistMs: 100 });
    await streaming();
    server.put(widgets, widget("a", 7));
    await eventually(() => size("a") === 7);
    server.storage.version = 500;
    server.storage.log.length = 0;
    server.remove(widgets, "test/a");
    server.put(widgets, widget("b", 2));
    server.watches.end();
    await eventually(() => size("b") === 2 && !cache.has("test/a"));
  });

  it("recovers from an API server that is down for a while", async () => {
    await begin();
    await streaming();
    const revive = server.faults.add(() => ({ drop: true }));
    server.watches.cut();
    server.put(widgets, widget("b", 2));
    await eventually(() => failures.length >= 3);
    expect(watch.problem).toBeDefined();
    revive();
    await eventually(() => size("b") === 2);
    await eventually(() => watch.silentMs < 1_000 && watch.problem === undefined);
  });

  it("survives events that are not JSON and events without an object", async () => {
    await begin();
    await streaming();
    server.watches.send("no json\n");
    await eventually(() => server.watches.opened === 2);
    await streaming();
    server.watches.send({ type: "ADDED", object: 5 });
    await eventually(() => server.watches.opened === 3);
    server.put(widgets, widget("b", 2));
    await eventually(() => size("b") === 2);
  });

  it("goes on when a listener throws", async () => {
    await begin();
    await streaming();
    cache.onChange(() => {
      throw new Error("from a listener");
    });
    server.put(widgets, widget("b", 2));
    server.put(widgets, widget("c", 3));
    await eventually(() => size("c") === 3);
    expect(server.watches.opened).toBe(1);
  });

  it("keeps the others when one object cannot be parsed, and says what is wrong with it", async () => {
    await begin();
    await streaming();
    server.put(widgets, widget("bad", "large"));
    server.put(widgets, widget("b", 2));
    await eventually(() => size("b") === 2);
    expect(cache.get("test/bad")).toBeUndefined();
    expect(cache.problem("test/bad")).toBe("spec.size is not a number");
    server.put(widgets, widget("bad", 9));
    await eventually(() => size("bad") === 9);
    expect(cache.problem("test/bad")).toBeUndefined();
  });

  it("shows own writes at once, and the same event changes nothing later", async () => {
    await begin();
    await streaming();
    server.watches.hold();
    await client.create(widgets, widget("b", 2));
    expect(size("b")).toBe(2);
    await client.patch(widgets, { namespace: "test", name: "b" }, { spec: { size: 3 } });
    expect(size("b")).toBe(3);
    const seen = changes.length;
    server.watches.release();
    server.put(widgets, widget("c"));
    await eventually(() => size("c") === 1);
    expect(changes.slice(seen)).toEqual(["added test/c"]);
    expect(size("b")).toBe(3);
  });

  it("shows own deletions at once, and no late event brings the object back", async () => {
    await begin();
    await streaming();
    server.watches.hold();
    server.put(widgets, widget("a", 2));
    const uid = server.get(widgets, "test/a")?.metadata.uid ?? "";
    expect(await client.delete(widgets, { namespace: "test", name: "a" }, { uid })).toBe("gone");
    expect(cache.has("test/a")).toBe(false);
    server.watches.release();
    server.put(widgets, widget("c"));
    await eventually(() => size("c") === 1);
    expect(changes.filter((change) => change.endsWith("test/a"))).toEqual([
      "initial added test/a",
      "deleted test/a",
    ]);
  });

  it("tells apart an object and its successor of the same name", async () => {
    await begin();
    await streaming();
    const first = cache.get("test/a")?.metadata.uid;
    server.watches.hold();
    server.remove(widgets, "test/a");
    server.put(widgets, widget("a", 9));
    server.watches.release((events) => events.reverse());
    await eventually(() => size("a") === 9);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(size("a")).toBe(9);
    expect(cache.get("test/a")?.metadata.uid).not.toBe(first);
  });

  it("stops in the middle of a pause, and opens nothing more", async () => {
    server.faults.add(() => ({ status: 500 }));
    void begin({ retry: { minMs: 60_000, maxMs: 60_000 } });
    await eventually(() => failures.length === 1);
    const calls = server.journal.length;
    await watch.stop();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(server.journal.length).toBe(calls);
    expect(server.watches.opened).toBe(0);
  });
});
