// What a dataset that is not as it should be gets: a named reason, the first bad items, and nothing half-written.

import { createHash } from "node:crypto";
import { beforeAll, describe, expect, test } from "vitest";
import { STORE_CLAIM } from "../../api/group.ts";
import { applyObjects } from "../../demo/apply.ts";
import { heldOutPhotos } from "../../demo/photos.ts";
import { confined, hardened } from "../../demo/photoserver.ts";
import { tarGz } from "../../demo/tar.ts";
import { photoArchive } from "./archive.ts";
import { type Environment, environment } from "./environment.ts";
import {
  condition,
  datasetManifest,
  has,
  isReady,
  isStalled,
  type Objects,
  objectsIn,
} from "./objects.ts";

const counts = { train: 8, validation: 2, test: 2 };

describe("datasets", () => {
  let env: Environment;
  let namespace: string;
  let objects: Objects;
  let good: Buffer;

  beforeAll(async () => {
    env = await environment();
    namespace = await env.namespace("datasets");
    objects = objectsIn(env, namespace);
    good = await photoArchive(counts);
  });

  const declare = (name: string, source: object, spec: object = {}) =>
    applyObjects(env.client, [datasetManifest(name, source, spec)], namespace);
  const serve = (name: string, content: Buffer) => {
    env.files.serve(name, content);
    return { http: { url: env.files.url(name) } };
  };

  test("are refused with the reason when they cannot be had or believed", async () => {
    await declare("missing", { http: { url: env.files.url("nothing-here.tar.gz") } });
    await declare("changed", {
      http: { url: serve("good.tar.gz", good).http.url, sha256: "0".repeat(64) },
    });
    await declare("truncated", serve("truncated.tar.gz", good.subarray(0, good.length / 2)));
    await declare("not-an-archive", serve("page.tar.gz", Buffer.from("<html>not found</html>")));
    await declare(
      "escaping",
      serve("escaping.tar.gz", tarGz({ "../outside.png": Buffer.from("x") })),
    );
    await declare("bomb", serve("bomb.tar.gz", tarGz({ "a/zeros.png": Buffer.alloc(1 << 30) })));
    await declare("metadata", { http: { url: "http://169.254.169.254/latest/data.tar.gz" } });
    const wanted = {
      missing: "SourceNotFound",
      changed: "ChecksumMismatch",
      truncated: "ArchiveInvalid",
      "not-an-archive": "ArchiveInvalid",
      escaping: "ArchiveInvalid",
      bomb: "ArchiveTooLarge",
      metadata: "SourceForbidden",
    };
    const seen: Record<string, string | undefined> = {};
    for (const name of Object.keys(wanted)) {
      const dataset = await objects.untilDataset(name, isStalled);
      expect(has(dataset, "Ready", "False")).toBe(true);
      seen[name] = condition(dataset, "Ready")?.reason;
    }
    expect(seen).toEqual(wanted);
  });

  test("an image that does not decode is tolerated and counted, or too much", async () => {
    const archive = await photoArchive(counts, { "train/bag/broken.png": "not a picture" });
    const source = serve("one-broken.tar.gz", archive);
    await declare("tolerated", source);
    await declare("strict", source, { tolerance: { invalidPercent: 0 } });
    const tolerated = await objects.untilDataset("tolerated", isReady);
    expect(tolerated.status?.data?.invalid).toBe(1);
    expect(tolerated.status?.data?.badItems[0]?.path).toContain("broken.png");
    const strict = await objects.untilDataset("strict", isStalled);
    expect(condition(strict, "Ready")?.reason).toBe("InvalidDataToleranceExceeded");
    expect(condition(strict, "Ready")?.message).toContain("broken.png");
  });

  test("an empty class folder is named", async () => {
    const [photo] = await heldOutPhotos(counts, ["coat"]);
    const archive = tarGz({ "train/bag/": "", "train/coat/1.png": photo?.png ?? "" });
    await declare("empty-class", serve("empty.tar.gz", archive));
    const dataset = await objects.untilDataset("empty-class", isStalled);
    expect(condition(dataset, "Ready")?.reason).toBe("NoPositives");
    expect(condition(dataset, "Ready")?.message).toContain("bag");
  });

  test("equal data are stored once, and failures leave nothing in the store", async () => {
    const sha256 = createHash("sha256").update(good).digest("hex");
    await declare("twin-a", { http: { url: serve("a.tar.gz", good).http.url, sha256 } });
    await declare("twin-b", serve("b.tar.gz", good));
    const a = await objects.untilDataset("twin-a", isReady);
    const b = await objects.untilDataset("twin-b", isReady);
    const tolerated = await objects.untilDataset("tolerated", isReady);
    expect(b.status?.data?.digest).toBe(a.status?.data?.digest);
    const digests = [a, tolerated].map(({ status }) => status?.data?.digest.replace("sha256:", ""));
    const listing = await inStore(env, namespace, "ls -A /store/*/datasets");
    expect(listing.trim().split(/\s+/).sort()).toEqual([...new Set(digests)].sort());
  });

  test("come from a claim of the user too", async () => {
    await applyObjects(env.client, [claim("photos")], namespace);
    await runPod(env, namespace, "fill", "photos", [
      "python3",
      "-c",
      `import urllib.request,tarfile,io
data=urllib.request.urlopen("${env.files.url("good.tar.gz")}").read()
tarfile.open(fileobj=io.BytesIO(data)).extractall("/store/shop")`,
    ]);
    await declare("from-claim", { pvc: { claimName: "photos", path: "shop" } });
    const dataset = await objects.untilDataset("from-claim", isReady);
    const twin = await objects.dataset("twin-a");
    expect(dataset.status?.data?.digest).toBe(twin?.status?.data?.digest);
  });

  test("a source that is mended is imported after a retry, and the next spec replaces the last", async () => {
    env.files.serve("nothing-here.tar.gz", good);
    await env.kubectl("-n", namespace, "annotate", "dset/missing", "deeptrain.dev/retry=1");
    const mended = await objects.untilDataset("missing", isReady);
    expect(mended.status?.lastHandledRetry).toBe("1");
    await declare("truncated", { http: { url: env.files.url("good.tar.gz") } });
    await objects.untilDataset("truncated", isReady);
  });
});

const claim = (name: string) => ({
  apiVersion: "v1",
  kind: "PersistentVolumeClaim",
  metadata: { name },
  spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
});

/** Runs a command in the trainer image with a claim at /store, and waits for its success. */
async function runPod(
  env: Environment,
  namespace: string,
  name: string,
  claimName: string,
  command: string[],
): Promise<string> {
  const pod = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name },
    spec: {
      restartPolicy: "Never",
      securityContext: { ...hardened, fsGroup: 65532 },
      containers: [
        {
          name: "run",
          image: env.installation.trainerImage,
          command,
          securityContext: confined,
          volumeMounts: [{ name: "store", mountPath: "/store" }],
        },
      ],
      volumes: [{ name: "store", persistentVolumeClaim: { claimName } }],
    },
  };
  await applyObjects(env.client, [pod], namespace);
  await env.kubectl(
    "-n",
    namespace,
    "wait",
    `pod/${name}`,
    "--for=jsonpath={.status.phase}=Succeeded",
    "--timeout=90s",
  );
  const log = await env.kubectl("-n", namespace, "logs", name);
  await env.kubectl("-n", namespace, "delete", "pod", name, "--now");
  return log;
}

const inStore = (env: Environment, namespace: string, script: string) =>
  runPod(env, namespace, "look", STORE_CLAIM, ["sh", "-c", script]);
