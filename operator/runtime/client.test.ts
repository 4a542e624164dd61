import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KubeConfig } from "@kubernetes/client-node";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { isAlreadyExists, isApiError, isConflict, isRefused, NotLeading } from "./apierror.ts";
import { Client } from "./client.ts";
import { connect } from "./connection.ts";
import { FakeApiServer } from "./testing/apiserver.ts";
import { all, configMaps, widget, widgets } from "./testing/kinds.ts";

describe("a client", () => {
  let server: FakeApiServer;
  let client: Client;
  const a = { namespace: "test", name: "a" };

  beforeEach(async () => {
    server = await FakeApiServer.start(all.map((resource) => ({ resource })));
    client = await server.client();
  });
  afterEach(() => server.stop());

  it("creates, reads, applies, patches, replaces and deletes", async () => {
    expect(await client.get(widgets, a)).toBeUndefined();
    await client.create(widgets, widget("a", 1));
    await client.apply(widgets, widget("a", 2, { labels: { x: "y" } }));
    expect((await client.get(widgets, a))?.metadata.labels).toEqual({ x: "y" });
    await client.patch(widgets, a, { spec: { size: 3, futureField: true } });
    const patched = await client.patch(widgets, a, { status: { n: 1 } }, { subresource: "status" });
    expect(patched).toMatchObject({ spec: { size: 3, futureField: true }, status: { n: 1 } });
    const { resourceVersion, uid } = patched.metadata;
    const replaced = await client.replaceStatus(widgets, {
      ...widget("a", 0, { resourceVersion }),
      status: { n: 2 },
    });
    expect(replaced).toMatchObject({ spec: { size: 3 }, status: { n: 2 } });
    expect(await client.delete(widgets, a, { uid })).toBe("gone");
    expect(await client.delete(widgets, a, { uid })).toBe("gone");
  });

  it("replaces a status whole, and leaves the spec alone", async () => {
    const { metadata } = await client.create(widgets, widget("a", 1));
    const { resourceVersion } = metadata;
    const made = await client.replaceStatus(widgets, {
      ...widget("a", 9, { resourceVersion }),
      status: { phase: "x", n: 1 },
    });
    const next = await client.replaceStatus(widgets, {
      ...widget("a", 9, { resourceVersion: made.metadata.resourceVersion }),
      status: { phase: "y" },
    });
    expect(next).toMatchObject({ spec: { size: 1 } });
    expect(next.status).toEqual({ phase: "y" });
  });

  it("sends mere progress once: whoever is throttled has better to do than to wait", async () => {
    const { metadata } = await client.create(widgets, widget("a", 1));
    const { resourceVersion } = metadata;
    const status = { ...widget("a", 1, { resourceVersion }), status: { n: 1 } };
    for (const code of [429, 503]) {
      server.faults.times(1, () => true, { status: code, retryAfterSeconds: 30 });
      const write = client.replaceStatus(widgets, status, { lane: "progress" });
      await expect(write).rejects.toMatchObject({ code, retryAfterSeconds: 30 });
    }
    await client.replaceStatus(widgets, status, { lane: "progress" });
  });

  it("refuses to delete another object of the same name, or a changed one", async () => {
    const first = await client.create(widgets, widget("a", 1));
    const { uid, resourceVersion } = first.metadata;
    await client.patch(widgets, a, { spec: { size: 2 } });
    await expect(client.delete(widgets, a, { uid, resourceVersion })).rejects.toSatisfy(isConflict);
    server.remove(widgets, "test/a");
    server.put(widgets, widget("a", 9));
    await expect(client.delete(widgets, a, { uid })).rejects.toSatisfy(isConflict);
    expect(server.get(widgets, "test/a")).toBeDefined();
  });

  it("says `going` while finalizers hold an object", async () => {
    const held = await client.create(widgets, widget("a", 1, { finalizers: ["example.dev/hold"] }));
    expect(await client.delete(widgets, a, { uid: held.metadata.uid })).toBe("going");
    expect((await client.get(widgets, a))?.metadata.deletionTimestamp).toBeDefined();
  });

  it("tells a taken name from a conflict", async () => {
    const { metadata } = await client.create(widgets, widget("a"));
    await expect(client.create(widgets, widget("a"))).rejects.toSatisfy(isAlreadyExists);
    await client.patch(widgets, a, { spec: { size: 5 } });
    const late = { ...widget("a"), metadata: { ...a, resourceVersion: metadata.resourceVersion } };
    await expect(client.replace(widgets, late)).rejects.toSatisfy(isConflict);
  });

  it("never asks for a collection where a name is missing", async () => {
    await expect(client.get(widgets, { namespace: "test", name: "" })).rejects.toThrow(/name/);
    await expect(
      client.delete(widgets, { namespace: "", name: "a" }, { uid: "u" }),
    ).rejects.toThrow(/namespace/);
    expect(server.journal).toEqual([]);
  });

  it("waits as long as 429 asks, then succeeds", async () => {
    server.faults.times(1, () => true, { status: 429, retryAfterSeconds: 0.3 });
    const startedAt = performance.now();
    await client.create(widgets, widget("a"));
    expect(performance.now() - startedAt).toBeGreaterThan(280);
  });

  it.each([500, 503])("tries again after %i, a few times", async (status) => {
    server.faults.times(2, () => true, { status, retryAfterSeconds: 0 });
    await client.create(widgets, widget("a"));
    server.faults.add(() => ({ status, message: "broken", retryAfterSeconds: 0 }));
    await expect(client.get(widgets, a)).rejects.toMatchObject({ code: status, message: "broken" });
    expect(server.journal).toHaveLength(3 + 4);
  });

  it("tries again after a lost answer: a create that had happened is `AlreadyExists`", async () => {
    server.faults.times(1, () => true, { drop: true, after: true });
    await expect(client.create(widgets, widget("a"))).rejects.toSatisfy(isAlreadyExists);
    server.faults.times(1, () => true, { drop: true, after: true });
    await client.apply(widgets, widget("b"));
    expect(server.all(widgets)).toHaveLength(2);
  });

  it("does not repeat what is refused for good", async () => {
    server.faults.add(() => ({ status: 422, reason: "Invalid", message: "spec.size: no" }));
    await expect(client.create(widgets, widget("a"))).rejects.toSatisfy(isRefused);
    expect(server.journal).toHaveLength(1);
  });

  it("sends no write without the lease, and looks again before each repetition", async () => {
    let isLeading = true;
    const guarded = await server.client({ mayWrite: () => isLeading });
    server.faults.times(1, () => true, { status: 503, retryAfterSeconds: 0.1 });
    const write = guarded.create(widgets, widget("a"));
    const refused = expect(write).rejects.toBeInstanceOf(NotLeading);
    await new Promise((resolve) => setTimeout(resolve, 30));
    isLeading = false;
    await refused;
    await expect(guarded.delete(widgets, a, { uid: "u" })).rejects.toBeInstanceOf(NotLeading);
    expect(server.writes).toHaveLength(1);
    expect(await guarded.get(widgets, a)).toBeUndefined();
    await guarded.create(configMaps, { ...widget("c"), kind: "ConfigMap" }, { lane: "always" });
  });

  it("says that nobody answered", async () => {
    await server.stop();
    const error = await client.get(widgets, a).catch((thrown: unknown) => thrown);
    expect(isApiError(error, "Unreachable") || String(error).includes("destroyed")).toBe(true);
    server = await FakeApiServer.start([]);
  });

  it("counts answers", async () => {
    const answers: string[] = [];
    const counted = await server.client({
      observe: ({ verb, code }) => answers.push(`${verb} ${code}`),
    });
    await counted.get(widgets, a);
    await counted.create(widgets, widget("a"));
    expect(answers).toEqual(["GET 404", "POST 201"]);
  });
});

describe("credentials", () => {
  it("are read again after a 401, as when a projected token was rotated", async () => {
    const folder = await mkdtemp(join(tmpdir(), "runtime-"));
    const tokenFile = join(folder, "token");
    await writeFile(tokenFile, "first\n");
    let valid = "Bearer first";
    const server = createServer((request, response) => {
      const isValid = request.headers.authorization === valid;
      response.writeHead(isValid ? 200 : 401).end(isValid ? '{"ok":true}' : "{}");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const load = () => {
      const configuration = new KubeConfig();
      configuration.loadFromClusterAndUser(
        { name: "c", server: `http://127.0.0.1:${port}/proxied`, skipTLSVerify: true },
        { name: "u", authProvider: { name: "tokenFile", config: { tokenFile } } },
      );
      return configuration;
    };
    const client = new Client(await connect(load), { fieldManager: "test" });
    try {
      expect(await client.request({ method: "GET", path: "/x" })).toEqual({ ok: true });
      await writeFile(tokenFile, "second\n");
      valid = "Bearer second";
      expect(await client.request({ method: "GET", path: "/x" })).toEqual({ ok: true });
      valid = "Bearer third";
      await expect(client.request({ method: "GET", path: "/x" })).rejects.toMatchObject({
        code: 401,
      });
    } finally {
      await client.close();
      server.close();
      await rm(folder, { recursive: true });
    }
  });

  it("fail with words where the kubeconfig names no cluster", async () => {
    await expect(connect(() => new KubeConfig())).rejects.toThrow("no current cluster");
  });
});
