import { describe, expect, it } from "vitest";
import { Cache, type Change } from "./cache.ts";
import { storedWidget, type Widget, widgetCache } from "./testing/kinds.ts";

const cacheOf = (...versions: Array<[name: string, version: number]>) => {
  const cache = new Cache<Widget>({
    ...widgetCache,
    indexes: { size: ({ size }) => [String(size)] },
  });
  const list = cache.relist();
  list.page(versions.map(([name, version]) => storedWidget(name, version)));
  list.finish("100");
  const changes: Array<Change<Widget>> = [];
  cache.onChange((change) => changes.push(change));
  return { cache, changes };
};
const versionOf = (cache: Cache<Widget>, name: string) =>
  cache.get(`test/${name}`)?.metadata.resourceVersion;

describe("a cache", () => {
  it("keeps the newest version of an object, and compares versions as numbers", () => {
    const { cache, changes } = cacheOf(["a", 99]);
    expect(cache.put(storedWidget("a", 100))).toBe(true);
    expect(cache.put(storedWidget("a", 100))).toBe(false);
    expect(cache.put(storedWidget("a", 99))).toBe(false);
    expect(versionOf(cache, "a")).toBe("100");
    expect(changes).toHaveLength(1);
  });

  it("never brings back a deleted object, but lets its successor in", () => {
    const { cache } = cacheOf(["a", 90]);
    cache.remove("test/a", "uid-a", "110");
    expect(cache.put(storedWidget("a", 105))).toBe(false);
    expect(cache.put(storedWidget("a", 120, { uid: "another" }))).toBe(true);
    expect(cache.remove("test/a", "uid-a", "130")).toBe(false);
    expect(versionOf(cache, "a")).toBe("120");
  });

  it("lets an object in again that had left and comes back newer", () => {
    const { cache } = cacheOf(["a", 90]);
    cache.remove("test/a", "uid-a", "110");
    expect(cache.put(storedWidget("a", 111))).toBe(true);
  });

  it("remembers for ever what was deleted by itself", () => {
    const { cache } = cacheOf(["a", 90]);
    cache.remove("test/a", "uid-a");
    expect(cache.put(storedWidget("a", 999))).toBe(false);
    const list = cache.relist();
    list.page([storedWidget("a", 90)]);
    list.finish("95");
    expect(cache.has("test/a")).toBe(false);
  });

  it("removes what a new list does not name, but not what was written after it", () => {
    const { cache, changes } = cacheOf(["a", 90], ["b", 91]);
    cache.put(storedWidget("own", 300));
    changes.length = 0;
    const list = cache.relist();
    list.page([storedWidget("b", 91)]);
    list.finish("200");
    expect(cache.has("test/a")).toBe(false);
    expect(versionOf(cache, "own")).toBe("300");
    expect(changes.map(({ key, after }) => [key, after])).toEqual([["test/a", undefined]]);
  });

  it("finds objects by owner and by its own indexes, through every change", () => {
    const { cache } = cacheOf();
    const owner = { uid: "owner-1", kind: "Set", name: "s", controller: true };
    const owned = { metadata: { ownerReferences: [owner] } };
    cache.put(storedWidget("b", 101, { size: 5, ...owned }));
    cache.put(storedWidget("a", 102, { size: 5, ...owned }));
    const names = (objects: readonly Widget[]) => objects.map(({ metadata }) => metadata.name);
    const ownedNames = () => names(cache.ownedBy({ namespace: "test", uid: "owner-1" }));
    expect(ownedNames()).toEqual(["a", "b"]);
    expect(names(cache.by("size", "5"))).toEqual(["a", "b"]);
    cache.put(storedWidget("b", 103, { size: 6 }));
    expect(ownedNames()).toEqual(["a"]);
    expect(names(cache.by("size", "6"))).toEqual(["b"]);
    cache.remove("test/a", "uid-a", "104");
    expect(ownedNames()).toEqual([]);
    expect(() => cache.by("colour", "red")).toThrow("no index colour");
  });

  it("finds no object of another namespace, and none whose owner is not its controller", () => {
    const { cache } = cacheOf();
    const owner = { uid: "owner-1", kind: "Set", name: "s" };
    const controller = { ...owner, controller: true };
    cache.put(
      storedWidget("a", 101, { metadata: { namespace: "evil", ownerReferences: [controller] } }),
    );
    cache.put(storedWidget("b", 102, { metadata: { ownerReferences: [owner] } }));
    expect(cache.ownedBy({ namespace: "test", uid: "owner-1" })).toEqual([]);
    expect(cache.ownedBy({ namespace: "evil", uid: "owner-1" })).toHaveLength(1);
  });

  it("refuses own writes that its labels do not select", () => {
    const cache = new Cache<Widget>({ ...widgetCache, labels: { managed: "us" } });
    expect(cache.put(storedWidget("a", 1))).toBe(false);
    expect(cache.put(storedWidget("b", 2, { metadata: { labels: { managed: "us" } } }))).toBe(true);
  });

  it("freezes what it holds, and drops the bookkeeping that nobody reads", () => {
    const { cache } = cacheOf();
    const annotations = {
      "kubectl.kubernetes.io/last-applied-configuration": "{}",
      "example.dev/kept": "yes",
    };
    const sent = storedWidget("a", 101, { metadata: { managedFields: [{}], annotations } });
    cache.put(sent);
    const held = cache.get("test/a");
    expect(held?.metadata).not.toHaveProperty("managedFields");
    expect(held?.metadata.annotations).toEqual({ "example.dev/kept": "yes" });
    expect(() => Object.assign(held?.metadata ?? {}, { name: "x" })).toThrow(TypeError);
    expect(sent.metadata).toHaveProperty("managedFields");
  });

  it("counts what a parser throws as a problem of that object alone", () => {
    const cache = new Cache<Widget>({
      ...widgetCache,
      parse: ({ metadata }) => {
        if (metadata.name === "bad") throw new Error("no size");
        return { ok: true, value: { metadata, size: 1 } };
      },
    });
    cache.put(storedWidget("bad", 1));
    cache.put(storedWidget("good", 2));
    expect(cache.problem("test/bad")).toBe("no size");
    expect([...cache.values()].map(({ metadata }) => metadata.name)).toEqual(["good"]);
    expect(cache.has("test/bad")).toBe(true);
  });

  it("tells the former and the present state, and that the first list is the first", () => {
    const { cache, changes } = cacheOf(["a", 90]);
    cache.put(storedWidget("a", 101, { size: 2 }));
    cache.put(storedWidget("a", 102, { size: "broken" }));
    expect(changes).toMatchObject([
      { key: "test/a", before: { size: 1 }, after: { size: 2 }, initial: false },
      { key: "test/a", before: { size: 2 }, problem: "spec.size is not a number" },
    ]);
  });
});
