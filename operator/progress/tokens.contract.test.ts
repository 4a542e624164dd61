// Token reviews by a real API server, of tokens as a pod's projected volume holds them.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { progressAudience } from "../../api/group.ts";
import { type ControlPlane, startControlPlane } from "../../cluster/controlplane.ts";
import { Client } from "../runtime/client.ts";
import { connect, loadConfiguration } from "../runtime/connection.ts";
import { isRecord } from "../runtime/object.ts";
import { resource } from "../runtime/resource.ts";
import { eventually } from "../runtime/testing/eventually.ts";
import { apiServerReviewer, type TokenReviewer } from "./tokens.ts";

const namespaces = resource("", "v1", "Namespace", "namespaces", false);
const serviceAccounts = resource("", "v1", "ServiceAccount", "serviceaccounts");
const pods = resource("", "v1", "Pod", "pods");
const name = { namespace: "work", name: "trainer" };

let controlPlane: ControlPlane;
let client: Client;
let review: TokenReviewer;
let podUid: string;
const audience = progressAudience("11111111-2222-3333-4444-555555555555");

const token = async (audiences: string[], isBound = true): Promise<string> => {
  const bound = { kind: "Pod", apiVersion: "v1", name: name.name, uid: podUid };
  const answer = await client.request({
    method: "POST",
    path: "/api/v1/namespaces/work/serviceaccounts/trainer/token",
    body: {
      apiVersion: "authentication.k8s.io/v1",
      kind: "TokenRequest",
      spec: { audiences, expirationSeconds: 600, ...(isBound ? { boundObjectRef: bound } : {}) },
    },
  });
  const status = isRecord(answer) && isRecord(answer.status) ? answer.status : {};
  return String(status.token);
};

beforeAll(async () => {
  controlPlane = await startControlPlane({ name: "contract-tokens" });
  client = new Client(await connect(() => loadConfiguration(controlPlane.kubeconfig)), {
    fieldManager: "contract",
  });
  await client.create(namespaces, {
    apiVersion: "v1",
    kind: "Namespace",
    metadata: { name: "work" },
  });
  await client.create(serviceAccounts, {
    apiVersion: "v1",
    kind: "ServiceAccount",
    metadata: name,
  });
  const pod = await client.create(pods, {
    apiVersion: "v1",
    kind: "Pod",
    metadata: name,
    spec: {
      serviceAccountName: "trainer",
      automountServiceAccountToken: false,
      containers: [{ name: "c", image: "example.invalid/x" }],
    },
  });
  podUid = pod.metadata.uid;
  review = apiServerReviewer(client);
});
afterAll(async () => {
  await client?.close();
  await controlPlane?.stop();
});

describe("a token review", () => {
  it("names the pod that a token was made for", async () => {
    expect(await review(await token([audience]), audience)).toEqual({ podUid });
  });

  it("says no for another audience, for the API server's own, and for none that is bound to a pod", async () => {
    expect(await review(await token([progressAudience("another")]), audience)).toBeUndefined();
    expect(await review(await token([]), audience)).toBeUndefined();
    expect(await review(await token([audience], false), audience)).toBeUndefined();
  });

  it("says no for what is no token, or a token that was changed", async () => {
    const good = await token([audience]);
    expect(await review("nonsense", audience)).toBeUndefined();
    const parts = good.split(".");
    const claims = Buffer.from(parts[1] ?? "", "base64url")
      .toString()
      .replace("trainer", "another");
    const forged = [parts[0], Buffer.from(claims).toString("base64url"), parts[2]].join(".");
    expect(await review(forged, audience)).toBeUndefined();
  });

  it("says no once the pod is deleted", async () => {
    const good = await token([audience]);
    await client.delete(pods, name, { uid: podUid, gracePeriodSeconds: 0 });
    // The API server learns of it from its own watch, and remembers a yes for ten seconds.
    await eventually(async () => (await review(good, audience)) === undefined, 30_000);
  });
});
