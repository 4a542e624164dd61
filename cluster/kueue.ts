// Kueue in a cluster of ours, as its users install it: its own manifests, its image, its webhooks. Built from its Go module.
import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parse, parseAllDocuments, stringify } from "yaml";
import { z } from "zod";
import { binary, moduleFolder } from "./binaries.ts";
import { cacheFolder } from "./folders.ts";
import { buildImage } from "./images.ts";
import { applyObjects, kubectl } from "./kubectl.ts";

const namespace = "kueue-system";
const deployment = "kueue-controller-manager";

/** Installs Kueue for batch/v1 Jobs, and resolves when it decides: its webhooks answer. About 20 s once it is built. */
export async function installKueue(
  kubeconfig: string,
  say: (line: string) => void = () => {},
): Promise<void> {
  const image = await kueueImage(say);
  const folder = await moduleFolder("kueue", "sigs.k8s.io/kueue");
  const text = await kubectl(kubeconfig, ["kustomize", join(folder, "config", "default")]);
  const objects = parseAllDocuments(text)
    .map((document) => KubernetesObject.parse(document.toJS()))
    // Its list of who waits is served through an aggregation layer, which our API server does not have.
    .filter(({ kind }) => kind !== "APIService");
  const isDefinition = ({ kind }: KubernetesObject) =>
    kind === "CustomResourceDefinition" || kind === "Namespace";
  await applyObjects(kubeconfig, objects.filter(isDefinition));
  await applyObjects(
    kubeconfig,
    objects.filter((object) => !isDefinition(object)).map((object) => adapted(object, image)),
  );
  await kubectl(kubeconfig, [
    ...["rollout", "status", `deployment/${deployment}`, "--namespace", namespace],
    "--timeout=180s",
  ]);
}

async function kueueImage(say: (line: string) => void): Promise<string> {
  const program = await binary("kueue", say);
  await mkdir(cacheFolder("tmp"), { recursive: true });
  const context = await mkdtemp(cacheFolder("tmp", "kueue-"));
  try {
    await copyFile(program, join(context, "manager"));
    await writeFile(
      join(context, "Dockerfile"),
      'FROM scratch\nCOPY --chmod=0755 manager /\nUSER 65532:65532\nENTRYPOINT ["/manager"]\n',
    );
    return await buildImage({ name: "deeptrain/kueue", context, say });
  } finally {
    await rm(context, { recursive: true });
  }
}

const KubernetesObject = z.looseObject({
  kind: z.string(),
  metadata: z.looseObject({ name: z.string() }),
});
type KubernetesObject = z.infer<typeof KubernetesObject>;

const Deployment = z.looseObject({
  spec: z.looseObject({
    template: z.looseObject({
      spec: z.looseObject({ containers: z.array(z.looseObject({ name: z.string() })) }),
    }),
  }),
});
const configurationFile = "controller_manager_config.yaml";
const ConfigMap = z.looseObject({ data: z.object({ [configurationFile]: z.string() }) });
const Configuration = z.looseObject({});

/** Our image, no more CPU than one node of two has beside its pods, and Jobs alone: the other kinds are not installed. */
function adapted(object: KubernetesObject, image: string): object {
  if (object.kind === "Deployment" && object.metadata.name === deployment) {
    const parsed = Deployment.parse(object);
    for (const container of parsed.spec.template.spec.containers) {
      Object.assign(container, {
        image,
        imagePullPolicy: "IfNotPresent",
        resources: { requests: { cpu: "50m", memory: "128Mi" }, limits: { memory: "512Mi" } },
      });
    }
    return parsed;
  }
  if (object.kind === "ConfigMap") {
    const parsed = ConfigMap.parse(object);
    const configuration = Configuration.parse(parse(parsed.data[configurationFile]));
    const text = stringify({ ...configuration, integrations: { frameworks: ["batch/job"] } });
    return { ...parsed, data: { [configurationFile]: text } };
  }
  return object;
}

/** Takes Kueue out of the way of Jobs; its kinds and their objects stay. */
export async function stopKueue(kubeconfig: string): Promise<void> {
  const kinds = "validatingwebhookconfigurations,mutatingwebhookconfigurations";
  const ours = "app.kubernetes.io/name=kueue";
  await kubectl(kubeconfig, ["delete", kinds, "--selector", ours]);
  await kubectl(kubeconfig, ["delete", "deployment", deployment, "--namespace", namespace]);
}
