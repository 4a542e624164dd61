import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cgroupFolders } from "./cgroup.ts";
import { type Cluster, startCluster } from "./cluster.ts";
import { clusterFolder } from "./folders.ts";
import { baseImage, buildImage } from "./images.ts";
import { applyObjects, kubectl } from "./kubectl.ts";
import { cgroupName } from "./node.ts";
import { processesOf } from "./program.ts";
import { waitUntil } from "./wait.ts";

const name = "node-test";
let cluster: Cluster;
let image = "";

const run = (...args: string[]) => kubectl(cluster.kubeconfig, args);

// As the operator's own pods are: no privilege at all, and a group that owns the volumes.
const podSecurity = {
  runAsNonRoot: true,
  runAsUser: 65532,
  runAsGroup: 65532,
  fsGroup: 65532,
  seccompProfile: { type: "RuntimeDefault" },
};
const containerSecurity = { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } };

function container(script: string): object {
  return {
    name: "main",
    image,
    command: ["python3", "-c", script],
    securityContext: containerSecurity,
  };
}

function pod(metadata: object, script: string, more: object = {}) {
  const spec = {
    restartPolicy: "Never",
    securityContext: podSecurity,
    terminationGracePeriodSeconds: 0,
  };
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata,
    spec: { ...spec, containers: [container(script)], ...more },
  };
}

/** Runs a script in a pod to its end and gives back what it printed. */
async function output(podName: string, script: string): Promise<string> {
  await applyObjects(cluster.kubeconfig, [pod({ name: podName }, script)]);
  let phase = "";
  const hasEnded = async () => {
    phase = await run("get", "pod", podName, "-o", "jsonpath={.status.phase}");
    return phase === "Succeeded" || phase === "Failed";
  };
  await waitUntil(hasEnded, { what: `the end of pod ${podName}`, timeoutMs: 60_000, everyMs: 200 });
  const text = await run("logs", podName);
  if (phase === "Failed") throw new Error(`pod ${podName} failed:\n${text}`);
  return text;
}

async function buildTestImage(): Promise<string> {
  const context = await mkdtemp(join(tmpdir(), "deeptrain-image-"));
  try {
    await writeFile(join(context, "Dockerfile"), "ARG BASE\nFROM $BASE\nUSER 65532:65532\n");
    return await buildImage({
      name: "deeptrain/test",
      context,
      buildArgs: { BASE: await baseImage("python") },
    });
  } finally {
    await rm(context, { recursive: true });
  }
}

beforeAll(async () => {
  image = await buildTestImage();
  cluster = await startCluster({ name });
  await run("label", "namespace", "default", "pod-security.kubernetes.io/enforce=restricted");
});

afterAll(async () => {
  await cluster?.stop();
});

describe("a node", () => {
  test("runs a pod of an image from the registry, unprivileged", async () => {
    const script =
      "import os; print(os.getuid(), os.getgroups(), open('/proc/self/status').read().split('Seccomp:')[1].split()[0])";
    expect((await output("unprivileged", script)).trim()).toBe("65532 [65532] 2");
  });

  test.each(["ReadWriteOnce", "ReadWriteMany"])(
    "lets a Job write by subPath to a %s claim of the default class",
    async (mode) => {
      const claim = `store-${mode.toLowerCase()}`;
      const script =
        "import os; os.makedirs('/out/v1'); open('/out/v1/weights', 'w').write('trained'); print(oct(os.stat('/out').st_mode))";
      const volume = { name: "store", persistentVolumeClaim: { claimName: claim } };
      const mount = { name: "store", mountPath: "/out", subPath: "default/models/m" };
      const { spec: template } = pod({}, script, {
        volumes: [volume],
        containers: [{ ...container(script), volumeMounts: [mount] }],
      });
      const spec = { accessModes: [mode], resources: { requests: { storage: "10Gi" } } };
      await applyObjects(cluster.kubeconfig, [
        { apiVersion: "v1", kind: "PersistentVolumeClaim", metadata: { name: claim }, spec },
        {
          apiVersion: "batch/v1",
          kind: "Job",
          metadata: { name: claim },
          spec: { backoffLimit: 0, template: { spec: template } },
        },
      ]);
      await run("wait", "--for=condition=Complete", `job/${claim}`, "--timeout=60s");
      const bound = await run("get", "pvc", claim, "-o", "jsonpath={.spec.volumeName}");
      const file = join(clusterFolder(name), "volumes", bound, "default/models/m/v1/weights");
      expect(await readFile(file, "utf8")).toBe("trained");
    },
  );

  test("resolves and reaches a service and the API server from a pod, and a service from this machine", async () => {
    const server =
      "import http.server as h; h.ThreadingHTTPServer(('', 8080), h.SimpleHTTPRequestHandler).serve_forever()";
    const readinessProbe = { httpGet: { port: 8080, path: "/" }, periodSeconds: 1 };
    await applyObjects(cluster.kubeconfig, [
      pod({ name: "web", labels: { app: "web" } }, server, {
        containers: [{ ...container(server), workingDir: "/usr/share", readinessProbe }],
      }),
      {
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: "web" },
        spec: { selector: { app: "web" }, ports: [{ port: 80, targetPort: 8080 }] },
      },
    ]);
    await run("wait", "--for=condition=Ready", "pod/web", "--timeout=60s");
    const client = `
import ssl, urllib.request as u
print(u.urlopen('http://web.default.svc.cluster.local/').status, u.urlopen('http://web/').status)
ca = ssl.create_default_context(cafile='/var/run/secrets/kubernetes.io/serviceaccount/ca.crt')
print(u.urlopen('https://kubernetes.default.svc/version', context=ca).status)`;
    expect((await output("client", client)).split("\n")).toEqual(["200 200", "200", ""]);
    const address = await run("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}");
    expect((await fetch(`http://${address}/`)).status).toBe(200);
  });

  test("lets a pod reach a server on this machine", async () => {
    const server = createServer((_, response) => response.end("from the host"));
    await new Promise<void>((resolve) => server.listen(0, cluster.hostAddress, resolve));
    const bound = server.address();
    const port = typeof bound === "object" ? bound?.port : undefined;
    try {
      const script = `import urllib.request as u; print(u.urlopen('http://${cluster.hostAddress}:${port}/').read().decode())`;
      expect((await output("to-host", script)).trim()).toBe("from the host");
    } finally {
      server.close();
    }
  });

  test("keeps a pod running while its kubelet is killed and started again", async () => {
    const script = "import time; print('started', flush=True); time.sleep(600)";
    await applyObjects(cluster.kubeconfig, [pod({ name: "steady" }, script)]);
    await run("wait", "--for=condition=Ready", "pod/steady", "--timeout=60s");
    await cluster.node.restartKubelet();
    await cluster.node.ready();
    expect((await output("after-restart", "print('ok')")).trim()).toBe("ok");
    expect(
      await run(
        "get",
        "pod",
        "steady",
        "-o",
        "jsonpath={.status.phase} {.status.containerStatuses[0].restartCount}",
      ),
    ).toBe("Running 0");
    expect(await run("exec", "steady", "--", "python3", "-c", "print('inside')")).toBe("inside\n");
  });

  // The last one: it ends the cluster.
  test("leaves no process, link, control group or file when the cluster is stopped", async () => {
    const folder = clusterFolder(name);
    const { link } = cluster.network;
    const groups = await cgroupFolders(cgroupName(name));
    expect(groups.filter((group) => existsSync(group))).not.toEqual([]);
    await cluster.stop();
    expect(await processesOf(folder)).toEqual([]);
    expect(await readdir(join(folder, "..")).catch(() => [])).not.toContain(name);
    expect(await readdir("/sys/class/net")).not.toContain(link);
    expect(groups.filter((group) => existsSync(group))).toEqual([]);
    expect(await readFile("/proc/mounts", "utf8")).not.toContain(folder);
  });
});
