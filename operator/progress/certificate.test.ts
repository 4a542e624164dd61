import { X509Certificate } from "node:crypto";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { connect } from "node:tls";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Client } from "../runtime/client.ts";
import { resource } from "../runtime/resource.ts";
import { FakeApiServer } from "../runtime/testing/apiserver.ts";
import { type EndpointCertificate, ensureCertificate, needsRenewal } from "./certificate.ts";

const secrets = resource("", "v1", "Secret", "secrets");
const options = {
  namespace: "system",
  secretName: "progress",
  dnsNames: ["operator.system.svc", "operator.system.svc.cluster.local", "127.0.0.1"],
};
const DAY_MS = 24 * 3_600_000;

/** Whether a client that trusts `ca` accepts a server with that identity under that name. */
const isTrusted = async ({ certificate, key }: EndpointCertificate, ca: string, name: string) => {
  const server = createServer({ cert: certificate, key, minVersion: "TLSv1.3" });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  try {
    return await new Promise<boolean>((resolve) => {
      const host = "127.0.0.1";
      const socket = connect({ port, host, ca, ...(name === host ? {} : { servername: name }) });
      socket.once("secureConnect", () => resolve(socket.authorized));
      socket.once("error", () => resolve(false));
    });
  } finally {
    server.close();
    server.closeAllConnections();
  }
};

describe("the endpoint's certificate", () => {
  let server: FakeApiServer;
  let client: Client;

  beforeEach(async () => {
    server = await FakeApiServer.start([{ resource: secrets, hasStatus: false }]);
    client = await server.client({ mayWrite: () => false });
  });
  afterEach(() => server.stop());
  const ensure = (extra: { nowMs?: number; dnsNames?: string[] } = {}) =>
    ensureCertificate(client, { ...options, ...extra });

  it("is trusted by who trusts the authority, under its names alone", async () => {
    const made = await ensure();
    for (const name of options.dnsNames) expect(await isTrusted(made, made.ca, name)).toBe(true);
    expect(await isTrusted(made, made.ca, "other.system.svc")).toBe(false);
    const { ca: another } = await ensureCertificate(client, { ...options, secretName: "another" });
    expect(await isTrusted(made, another, "operator.system.svc")).toBe(false);
  });

  it("is an end's certificate: it cannot sign others", async () => {
    const made = await ensure();
    expect(new X509Certificate(made.certificate).ca).toBe(false);
    expect(new X509Certificate(made.ca).ca).toBe(true);
    expect(new X509Certificate(made.ca).subject).toBe("CN=deeptrain-progress-ca");
  });

  it("is kept, without a write, as long as it will do", async () => {
    const made = await ensure();
    expect(await ensure()).toEqual(made);
    expect(await ensure({ nowMs: Date.now() + 200 * DAY_MS })).toEqual(made);
    expect(server.writes).toHaveLength(1);
  });

  it("is renewed four months before its end, with the same authority", async () => {
    const made = await ensure();
    const nowMs = Date.now() + 260 * DAY_MS;
    expect(needsRenewal(made, options.dnsNames, nowMs)).toBe(true);
    const renewed = await ensure({ nowMs });
    expect(renewed.ca).toBe(made.ca);
    expect(renewed.certificate).not.toBe(made.certificate);
    expect(new X509Certificate(renewed.certificate).validToDate.getTime()).toBeGreaterThan(
      nowMs + 300 * DAY_MS,
    );
  });

  it("is renewed with another name", async () => {
    const made = await ensure();
    const renewed = await ensure({ dnsNames: ["new.svc"] });
    expect(renewed.ca).toBe(made.ca);
    expect(await isTrusted(renewed, made.ca, "new.svc")).toBe(true);
  });

  it("gets a successor of the authority in time, and pods that trust the old one go on", async () => {
    const made = await ensure();
    const renewed = await ensure({ nowMs: Date.now() + 3_000 * DAY_MS });
    expect(renewed.ca).not.toBe(made.ca);
    const old = new X509Certificate(made.ca);
    expect(new X509Certificate(renewed.certificate).verify(old.publicKey)).toBe(true);
    expect(new X509Certificate(renewed.certificate).checkIssued(old)).toBe(true);
  });

  it("is one certificate, however many processes make it at once", async () => {
    const all = await Promise.all(
      Array.from({ length: 5 }, async () =>
        ensureCertificate(await server.client(), { ...options }),
      ),
    );
    expect(new Set(all.map(({ certificate }) => certificate)).size).toBe(1);
    expect(server.all(secrets)).toHaveLength(1);
  });

  it.each([
    ["without a part", { "tls.key": null }],
    ["with a part that is none", { "tls.crt": Buffer.from("no PEM").toString("base64") }],
    ["with a key of another authority", { "ca.key": "AAAA" }],
  ])("is made anew where the Secret is found %s", async (_, data) => {
    const made = await ensure();
    server.put(secrets, { metadata: { namespace: "system", name: "progress" }, data });
    const anew = await ensure();
    expect(await isTrusted(anew, anew.ca, "operator.system.svc")).toBe(true);
    expect(anew.certificate).not.toBe(made.certificate);
  });

  it("fails with the API server's words where it may not read the Secret", async () => {
    server.faults.add(() => ({ status: 403, message: "secrets is forbidden" }));
    await expect(ensure()).rejects.toThrow("secrets is forbidden");
  });
});
