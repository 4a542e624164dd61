// The progress endpoint on a real cluster: only the running pod of exactly that attempt is believed.

import { request as httpsRequest } from "node:https";
import { beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { annotation, progressAudience } from "../../api/group.ts";
import type { ModelVersion } from "../../api/modelversion.ts";
import { PROGRESS_PATH } from "../../api/progress.ts";
import { TrainRun } from "../../api/run.ts";
import { applyObjects } from "../../demo/apply.ts";
import { confined, hardened } from "../../demo/photoserver.ts";
import { OPERATOR_NAME, PROGRESS_PORT, progressHost } from "../../operator/manifests.ts";
import { resource } from "../../operator/runtime/resource.ts";
import { photoArchive } from "./archive.ts";
import { type Environment, environment } from "./environment.ts";
import {
  datasetManifest,
  modelManifest,
  type Objects,
  objectsIn,
  quickHyperparameters,
} from "./objects.ts";

/** Above any sequence number that a trainer of this century sends. */
const FUTURE = 900_000_000_000;

const serviceResource = resource("", "v1", "Service", "services");
const Service = z.looseObject({ spec: z.looseObject({ clusterIP: z.string() }) });
const Token = z.looseObject({ status: z.looseObject({ token: z.string() }) });
const TrainerPod = z.looseObject({
  metadata: z.looseObject({
    name: z.string(),
    uid: z.string(),
    annotations: z.record(z.string(), z.string()),
  }),
});

describe("progress endpoint", () => {
  let env: Environment;
  let namespace: string;
  let objects: Objects;
  let version: ModelVersion;
  let pod: { name: string; uid: string };
  let ca: string;
  let address: string;

  beforeAll(async () => {
    env = await environment();
    namespace = await env.namespace("progress");
    objects = objectsIn(env, namespace);
    env.files.serve("seen.tar.gz", await photoArchive({ train: 20, validation: 3, test: 3 }));
    await applyObjects(
      env.client,
      [
        datasetManifest("seen", { http: { url: env.files.url("seen.tar.gz") } }),
        modelManifest("watched", "seen", {
          hyperparameters: { ...quickHyperparameters, num_epochs: 1000 },
        }),
        idlePod(env.installation.trainerImage),
      ],
      namespace,
    );
    version = await objects.untilVersion(
      "watched-v1",
      ({ status }) => (status?.progress?.epoch ?? 0) >= 1,
    );
    const running = TrainerPod.parse((await objects.pods({ version: "watched-v1" }))[0]);
    pod = { name: running.metadata.name, uid: running.metadata.uid };
    ca = running.metadata.annotations[annotation.ca] ?? "";
    const run = TrainRun.parse(JSON.parse(running.metadata.annotations[annotation.run] ?? ""));
    expect(run.object.uid).toBe(version.metadata.uid);
    const service = await env.client.get(serviceResource, {
      namespace: env.installation.namespace,
      name: OPERATOR_NAME,
    });
    address = Service.parse(service).spec.clusterIP;
    await env.kubectl(
      "-n",
      namespace,
      "wait",
      "pod/idle",
      "--for=condition=Ready",
      "--timeout=60s",
    );
  });

  /** A token of the namespace's default account, bound to a pod, as the kubelet would ask for it. */
  async function tokenFor(bound: { name: string; uid: string }, audience: string): Promise<string> {
    const answer = await env.client.request({
      method: "POST",
      path: `/api/v1/namespaces/${namespace}/serviceaccounts/default/token`,
      body: {
        apiVersion: "authentication.k8s.io/v1",
        kind: "TokenRequest",
        spec: {
          audiences: [audience],
          expirationSeconds: 600,
          boundObjectRef: { apiVersion: "v1", kind: "Pod", ...bound },
        },
      },
    });
    return Token.parse(answer).status.token;
  }

  const report = (sequence: number, step = 1) => ({
    uid: version.metadata.uid,
    attempt: 1,
    sequence,
    task: "train",
    event: { type: "step", epoch: 0, epochs: 1000, step, steps: 10_000, loss: 123.5, lrate: 0.1 },
  });

  /** `declared`: bytes that the head says will come; what the body lacks of them never does. */
  function post(
    token: string | undefined,
    body: string,
    declared = Buffer.byteLength(body),
  ): Promise<number> {
    return new Promise((resolve, reject) => {
      const request = httpsRequest(
        {
          host: address,
          port: PROGRESS_PORT,
          path: PROGRESS_PATH,
          method: "POST",
          servername: progressHost(env.installation.namespace),
          ca,
          headers: {
            "content-type": "application/json",
            "content-length": declared,
            ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          },
        },
        (response) => {
          response.resume();
          response.once("end", () => {
            resolve(response.statusCode ?? 0);
            request.destroy();
          });
        },
      );
      request.on("error", reject);
      if (declared > Buffer.byteLength(body)) request.flushHeaders();
      else request.end(body);
    });
  }

  const idle = async () => {
    const { metadata } = TrainerPod.parse({
      metadata: {
        annotations: {},
        ...(await env.client.get(resource("", "v1", "Pod", "pods"), { namespace, name: "idle" }))
          ?.metadata,
      },
    });
    return { name: metadata.name, uid: metadata.uid };
  };

  test("refuses no token, garbage, another audience, another pod", async () => {
    const body = JSON.stringify(report(FUTURE));
    expect(await post(undefined, body)).toBe(401);
    expect(await post("garbage", body)).toBe(401);
    const audience = progressAudience(version.metadata.uid);
    expect([401, 403]).toContain(await post(await tokenFor(pod, progressAudience("other")), body));
    expect(await post(await tokenFor(await idle(), audience), body)).toBe(403);
    const after = await objects.version("watched-v1");
    expect(after?.status?.progress?.loss).not.toBe(123.5);
    expect(after?.status?.reported?.sequence).toBeLessThan(FUTURE);
  });

  test("refuses what is not a small strict finite report, even from the right pod", async () => {
    const token = await tokenFor(pod, progressAudience(version.metadata.uid));
    const good = report(FUTURE + 1);
    expect(await post(token, "{")).toBe(422);
    expect(await post(token, JSON.stringify({ ...good, extra: 1 }))).toBe(422);
    expect(await post(token, JSON.stringify(good).replace("123.5", "NaN"))).toBe(422);
    expect(await post(token, JSON.stringify(good).replace("123.5", "1e400"))).toBe(422);
    // Answered at once: who went on writing might see the connection end before the answer.
    expect(await post(token, "", 1 << 20)).toBe(413);
    const after = await objects.version("watched-v1");
    expect(after?.status?.reported?.sequence).toBeLessThan(FUTURE);
  });

  test("believes the right pod, once: a replay changes nothing, a late report is refused", async () => {
    const token = await tokenFor(pod, progressAudience(version.metadata.uid));
    const body = JSON.stringify(report(FUTURE + 2));
    expect(await post(token, body)).toBe(200);
    // The same report again is answered as before, as for a trainer that missed the answer.
    expect(await post(token, body)).toBe(200);
    expect(await post(token, JSON.stringify(report(FUTURE + 2, 2)))).toBe(409);
    expect(await post(token, JSON.stringify(report(5)))).toBe(409);
    await env.kubectl("-n", namespace, "delete", "dm/watched", "--wait");
    await env.kubectl("-n", namespace, "wait", `pod/${pod.name}`, "--for=delete", "--timeout=90s");
    expect([401, 403, 404, 410]).toContain(await post(token, JSON.stringify(report(FUTURE + 3))));
  });
});

const idlePod = (image: string) => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "idle" },
  spec: {
    terminationGracePeriodSeconds: 0,
    securityContext: hardened,
    containers: [{ name: "idle", image, command: ["sleep", "3600"], securityContext: confined }],
  },
});
