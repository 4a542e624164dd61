// The runtime against a real API server: what the fake one only imitates.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ControlPlane, startControlPlane } from "../../cluster/controlplane.ts";
import { isAlreadyExists, isConflict, isRefused } from "./apierror.ts";
import { Cache } from "./cache.ts";
import { Client } from "./client.ts";
import { connect, loadConfiguration } from "./connection.ts";
import { Events, events } from "./events.ts";
import { eventsOf } from "./eventstream.ts";
import { Lease, leases } from "./lease.ts";
import { compareVersions, type KubeObject, type Manifest } from "./object.ts";
import { resource } from "./resource.ts";
import { eventually } from "./testing/eventually.ts";
import { Watch } from "./watch.ts";

const namespaces = resource("", "v1", "Namespace", "namespaces", false);
const configMaps = resource("", "v1", "ConfigMap", "configmaps");
const jobs = resource("batch", "v1", "Job", "jobs");
const crds = resource(
  "apiextensions.k8s.io",
  "v1",
  "CustomResourceDefinition",
  "customresourcedefinitions",
  false,
);
const widgets = resource("example.dev", "v1", "Widget", "widgets");

const labels = { managed: "us" };
const configMap = (name: string, data: Record<string, string>, namespace = "work"): Manifest => ({
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name, namespace, labels },
  data,
});

let controlPlane: ControlPlane;
let client: Client;
const clients: Client[] = [];
const newClient = async (mayWrite = () => true) => {
  const connection = await connect(() => loadConfiguration(controlPlane.kubeconfig));
  const made = new Client(connection, { fieldManager: "contract", mayWrite });
  clients.push(made);
  return made;
};

beforeAll(async () => {
  controlPlane = await startControlPlane({
    name: "contract-runtime",
    apiServerArgs: ["--watch-cache=true"],
  });
  client = await newClient();
  await client.create(namespaces, {
    apiVersion: "v1",
    kind: "Namespace",
    metadata: { name: "work" },
  });
  await client.create(crds, widgetDefinition);
  await eventually(
    () =>
      client.list(widgets).then(
        () => true,
        () => false,
      ),
    30_000,
  );
});
afterAll(async () => {
  await Promise.all(clients.map((each) => each.close()));
  await controlPlane?.stop();
});

const widgetDefinition: Manifest = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: "widgets.example.dev" },
  spec: {
    group: "example.dev",
    scope: "Namespaced",
    names: { kind: "Widget", plural: "widgets" },
    versions: [
      {
        name: "v1",
        served: true,
        storage: true,
        subresources: { status: {} },
        schema: {
          openAPIV3Schema: {
            type: "object",
            properties: {
              spec: { type: "object", properties: { size: { type: "integer", maximum: 10 } } },
              status: {
                type: "object",
                default: { observedGeneration: -1 },
                properties: {
                  observedGeneration: { type: "integer" },
                  phase: { type: "string" },
                },
              },
            },
          },
        },
      },
    ],
  },
};
const widget = (name: string, size: number, extra: Record<string, unknown> = {}): Manifest => ({
  apiVersion: "example.dev/v1",
  kind: "Widget",
  metadata: { name, namespace: "work" },
  spec: { size },
  ...extra,
});

const cacheOf = (of = configMaps, selected: Record<string, string> = labels) =>
  new Cache<KubeObject>({
    resource: of,
    labels: selected,
    parse: (value) => ({ ok: true, value }),
  });

describe("writes", () => {
  it("keep fields that this client does not know", async () => {
    const container = { name: "c", image: "example.invalid/x", workingDir: "/w" };
    const job = await client.create(jobs, {
      apiVersion: "batch/v1",
      kind: "Job",
      metadata: { name: "job", namespace: "work" },
      spec: {
        suspend: true,
        podReplacementPolicy: "Failed",
        backoffLimit: 0,
        template: { spec: { restartPolicy: "Never", containers: [container] } },
      },
    });
    expect(job.spec).toMatchObject({
      podReplacementPolicy: "Failed",
      template: { spec: { containers: [container] } },
    });
  });

  it("apply to objects, and own only what they name; the status is replaced whole, by one named owner", async () => {
    await client.apply(widgets, widget("applied", 3));
    const other = await newClient();
    const name = { namespace: "work", name: "applied" };
    const theirs = await other.patch(widgets, name, { metadata: { labels: { theirs: "yes" } } });
    const replaced = async (resourceVersion: string, status: Record<string, unknown>) =>
      client.replaceStatus(
        widgets,
        widget("applied", 9, { metadata: { ...name, resourceVersion }, status }),
      );
    const first = await replaced(theirs.metadata.resourceVersion, {
      observedGeneration: 1,
      phase: "x",
    });
    expect(first).toMatchObject({
      metadata: { labels: { theirs: "yes" }, generation: 1 },
      spec: { size: 3 },
      status: { observedGeneration: 1, phase: "x" },
    });
    const second = await replaced(first.metadata.resourceVersion, { observedGeneration: 2 });
    expect(second.status).toEqual({ observedGeneration: 2 });
    expect(second.metadata).toMatchObject({
      managedFields: expect.arrayContaining([
        expect.objectContaining({
          manager: "contract",
          operation: "Update",
          subresource: "status",
          fieldsV1: { "f:status": { "f:observedGeneration": {} } },
        }),
      ]),
    });
  });

  it("change nothing when nothing changed: the version stays", async () => {
    await client.apply(widgets, widget("same", 3));
    // The status that the CRD fills in is stored with the first write after the creation, and counts as a change.
    const first = await client.apply(widgets, widget("same", 3));
    const again = await client.apply(widgets, widget("same", 3));
    expect(again.metadata.resourceVersion).toBe(first.metadata.resourceVersion);
  });

  it("replace a status only from the version that was read", async () => {
    const made = await client.create(widgets, widget("replaced", 1));
    expect(made.status).toEqual({ observedGeneration: -1 });
    const { resourceVersion } = made.metadata;
    const metadata = { name: "replaced", namespace: "work", resourceVersion };
    const status = { observedGeneration: 1 };
    await client.replaceStatus(widgets, { ...widget("replaced", 1), metadata, status });
    await expect(
      client.replaceStatus(widgets, { ...widget("replaced", 1), metadata, status }),
    ).rejects.toSatisfy(isConflict);
  });

  it("are refused with the field and what is allowed", async () => {
    const error = await client
      .create(widgets, widget("large", 99))
      .catch((thrown: unknown) => thrown);
    expect(isRefused(error)).toBe(true);
    expect(error).toMatchObject({ code: 422, reason: "Invalid", causes: [{ field: "spec.size" }] });
    await client.create(widgets, widget("twice", 1));
    await expect(client.create(widgets, widget("twice", 1))).rejects.toSatisfy(isAlreadyExists);
  });

  it("delete that object alone", async () => {
    const name = { namespace: "work", name: "deleted" };
    const first = await client.create(configMaps, configMap("deleted", {}));
    await expect(client.delete(configMaps, name, { uid: "another" })).rejects.toSatisfy(isConflict);
    const changed = await client.patch(configMaps, name, { data: { a: "b" } });
    const stale = { uid: first.metadata.uid, resourceVersion: first.metadata.resourceVersion };
    await expect(client.delete(configMaps, name, stale)).rejects.toSatisfy(isConflict);
    expect(await client.delete(configMaps, name, { uid: changed.metadata.uid })).toBe("gone");
    expect(await client.delete(configMaps, name, { uid: changed.metadata.uid })).toBe("gone");
    const job = await client.get(jobs, { namespace: "work", name: "job" });
    const uid = job?.metadata.uid ?? "";
    const options = { uid, propagationPolicy: "Foreground" } as const;
    expect(await client.delete(jobs, { namespace: "work", name: "job" }, options)).toBe("going");
  });

  it("give versions that grow, and compare as numbers", async () => {
    let last = "";
    for (let n = 0; n < 20; n += 1) {
      const { metadata } = await client.apply(configMaps, configMap("counted", { n: String(n) }));
      if (last !== "") expect(compareVersions(metadata.resourceVersion, last)).toBe(1);
      last = metadata.resourceVersion;
    }
  });
});

describe("a watch", () => {
  it("lists in pages, follows, and sees own writes at once", async () => {
    for (let n = 0; n < 30; n += 1) await client.create(configMaps, configMap(`page-${n}`, {}));
    await client.create(configMaps, {
      ...configMap("foreign", {}),
      metadata: { name: "foreign", namespace: "work" },
    });
    const cache = cacheOf();
    const watch = new Watch(client, cache).start();
    await watch.synced;
    expect(cache.has("work/page-29")).toBe(true);
    expect(cache.has("work/foreign")).toBe(false);
    await client.create(configMaps, configMap("own", {}));
    expect(cache.has("work/own")).toBe(true);
    const other = await newClient();
    const theirs = await other.create(configMaps, configMap("theirs", {}));
    await eventually(() => cache.has("work/theirs"));
    await other.delete(
      configMaps,
      { namespace: "work", name: "theirs" },
      { uid: theirs.metadata.uid },
    );
    await eventually(() => !cache.has("work/theirs"));
    // Leaves the selection, and comes back.
    const own = { namespace: "work", name: "own" };
    await other.patch(configMaps, own, { metadata: { labels: { managed: null } } });
    await eventually(() => !cache.has("work/own"));
    await other.patch(configMaps, own, { metadata: { labels } });
    await eventually(() => cache.has("work/own"));
    expect(cache.get("work/own")?.metadata).not.toHaveProperty("managedFields");
    await watch.stop();
  });

  it("takes expired continuations and versions as the API server gives them", async () => {
    await expect(client.list(configMaps, { continueToken: "nonsense" })).rejects.toSatisfy(
      isRefused,
    );
    const stop = new AbortController();
    const first = await client.watch(configMaps, { resourceVersion: "1" }, "", stop.signal).then(
      async (body) => {
        for await (const event of eventsOf(body, () => undefined)) return event;
        return undefined;
      },
      (error: unknown) => error,
    );
    stop.abort();
    // Either way this is what the watch relists for: 410 as an answer or as an event; or history from the start.
    expect(JSON.stringify(first)).toMatch(/410|Expired|ADDED/);
  });

  it("goes on after the API server was killed, and notices what was deleted meanwhile", async () => {
    const failures: unknown[] = [];
    const cache = cacheOf();
    const watch = new Watch(client, cache, {
      onFailure: ({ error }) => failures.push(error),
    }).start();
    await watch.synced;
    const doomed = await client.create(configMaps, configMap("doomed", {}));
    await controlPlane.kill("kube-apiserver", "SIGKILL");
    await eventually(() => failures.length > 0 && watch.problem !== undefined, 20_000);
    await controlPlane.start("kube-apiserver");
    await controlPlane.ready();
    const other = await newClient();
    await other.delete(
      configMaps,
      { namespace: "work", name: "doomed" },
      { uid: doomed.metadata.uid },
    );
    await other.create(configMaps, configMap("reborn", {}));
    await eventually(() => cache.has("work/reborn") && !cache.has("work/doomed"), 60_000);
    expect(watch.problem).toBeUndefined();
    await watch.stop();
  });

  it("goes on, without a list, after a watch that was silent for too long", async () => {
    const cache = cacheOf();
    const watch = new Watch(client, cache, {
      inactivityMs: 400,
      retry: { minMs: 50, maxMs: 100 },
    }).start();
    await watch.synced;
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    await client.create(configMaps, configMap("after-silence", {}));
    const other = await newClient();
    await other.create(configMaps, configMap("after-silence-2", {}));
    await eventually(() => cache.has("work/after-silence-2"));
    await watch.stop();
  });

  it("waits for a kind that is not installed yet, and says so", async () => {
    const gadgets = resource("example.dev", "v1", "Gadget", "gadgets");
    const cache = cacheOf(gadgets, {});
    const watch = new Watch(client, cache, { retry: { minMs: 100, maxMs: 300 } }).start();
    await eventually(() => watch.problem !== undefined);
    expect(watch.problem).toMatch(/not found|could not find/i);
    await client.create(crds, {
      ...widgetDefinition,
      metadata: { name: "gadgets.example.dev" },
      spec: {
        ...(widgetDefinition.spec as Record<string, unknown>),
        names: { kind: "Gadget", plural: "gadgets" },
      },
    });
    await watch.synced;
    expect(cache.synced).toBe(true);
    await watch.stop();
  });

  it("waits for rights, and says which are missing", async () => {
    const path = await controlPlane.kubeconfigFor("nobody");
    const nobody = new Client(await connect(() => loadConfiguration(path)), {
      fieldManager: "nobody",
    });
    clients.push(nobody);
    const watch = new Watch(nobody, cacheOf(), { retry: { minMs: 100, maxMs: 300 } }).start();
    await eventually(() => watch.problem !== undefined);
    expect(watch.problem).toContain('cannot list resource "configmaps"');
    await watch.stop();
  });
});

describe("a lease", () => {
  const name = { namespace: "work", name: "operator" };
  const times = { durationMs: 3_000, deadlineMs: 2_000, renewMs: 300 };

  it("is created, renewed, given up and taken over on the real thing", async () => {
    const lost: string[] = [];
    const leaseOf = async (identity: string) =>
      new Lease({
        client: await newClient(),
        name,
        identity,
        ...times,
        onLost: (why) => lost.push(why),
      });
    const one = await leaseOf("one");
    await one.acquire();
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    expect(one.isHeld()).toBe(true);
    const lease = await client.get(leases, name);
    expect(lease?.spec).toMatchObject({ holderIdentity: "one", leaseDurationSeconds: 3 });
    await one.release();
    const two = await leaseOf("two");
    const startedAt = performance.now();
    await two.acquire();
    expect(performance.now() - startedAt).toBeLessThan(1_500);
    const held = await client.get(leases, name);
    await client.delete(leases, name, { uid: held?.metadata.uid ?? "" });
    await eventually(() => lost.length === 1);
    expect(two.isHeld()).toBe(false);
  });
});

describe("events", () => {
  it("are taken by the API server, and counted when they repeat", async () => {
    const dropped: string[] = [];
    const recorder = new Events({
      client,
      controller: "example.dev/operator",
      instance: "contract",
      onDropped: (why) => dropped.push(why),
    });
    const { metadata } = await client.create(widgets, widget("told", 1));
    const about = {
      apiVersion: "example.dev/v1",
      kind: "Widget",
      namespace: "work",
      name: "told",
      uid: metadata.uid,
    };
    const text = {
      type: "Warning",
      reason: "NoLuck",
      action: "Try",
      note: "It did not work.",
    } as const;
    for (let n = 0; n < 3; n += 1) recorder.emit(about, text);
    await recorder.flush();
    expect(dropped).toEqual([]);
    const { items } = await client.listAll(events, { namespace: "work" });
    const told = items.filter(({ reason }) => reason === "NoLuck");
    expect(told).toHaveLength(1);
    expect(told[0]).toMatchObject({ regarding: about, note: text.note, series: { count: 3 } });
  });
});
