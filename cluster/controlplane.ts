// A control plane: etcd and kube-apiserver, on request also the controller manager and the scheduler. Each one has its own
// folder and ports, so several run side by side.
import { existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { binary } from "./binaries.ts";
import {
  authority,
  type Certificate,
  clientCertificate,
  servingCertificate,
  signingKey,
} from "./certificates.ts";
import { clusterFolder } from "./folders.ts";
import { writeKubeconfig } from "./kubeconfig.ts";
import { KUBECTL_CACHE } from "./kubectl.ts";
import { freePorts } from "./port.ts";
import { endLeftovers, endProgram, logTail, runningProgram, startProgram } from "./program.ts";
import { get } from "./request.ts";
import { waitUntil } from "./wait.ts";

export type ControlPlaneProgram =
  | "etcd"
  | "kube-apiserver"
  | "kube-controller-manager"
  | "kube-scheduler";

export interface ControlPlaneOptions {
  /** Two control planes of one name cannot run at the same time: the second start ends the first. */
  readonly name: string;
  /** Where everything lies; default: the state folder of that name. */
  readonly dir?: string;
  /** Default false: a test's data need not outlive a power cut. */
  readonly fsync?: boolean;
  /** Without it nothing collects garbage, ends namespaces, runs Jobs or makes service accounts. Default false. */
  readonly controllerManager?: boolean;
  readonly scheduler?: boolean;
  /** The address of this machine that the API server listens on. Default 127.0.0.1, which no pod can reach. */
  readonly address?: string;
  /** Default 10.96.0.0/16. */
  readonly serviceCidr?: string;
  /** True: it outlives this process, and starting it again continues it. Default false: it dies with this process, and starts empty. */
  readonly daemon?: boolean;
  /** Default false: when none of its programs runs it takes new ports, as the old ones may be somebody else's by now. */
  readonly keepPorts?: boolean;
  /** Added to kube-apiserver's command line. */
  readonly apiServerArgs?: readonly string[];
  readonly say?: (line: string) => void;
}

export interface ControlPlane {
  readonly name: string;
  readonly folder: string;
  /** Path of the administrator's kubeconfig. */
  readonly kubeconfig: string;
  readonly url: string;
  /** Path of the authority's certificate. */
  readonly ca: string;
  readonly daemon: boolean;
  /** Writes a kubeconfig for any user, by client certificate, and gives back its path. */
  kubeconfigFor(user: string, groups?: readonly string[]): Promise<string>;
  /** Ends one program, by default as a crash would. */
  kill(program: ControlPlaneProgram, signal?: NodeJS.Signals): Promise<void>;
  /** Starts a program that was killed; its data and its port are the same. */
  start(program: ControlPlaneProgram): Promise<void>;
  /** Resolves when the API server says it is ready. */
  ready(): Promise<void>;
  /** Ends everything and removes the folder. */
  stop(): Promise<void>;
}

interface Ports {
  readonly etcd: number;
  readonly etcdPeer: number;
  readonly apiServer: number;
  readonly controllerManager: number;
  readonly scheduler: number;
}

interface Context {
  readonly options: ControlPlaneOptions;
  readonly folder: string;
  readonly pki: string;
  readonly address: string;
  readonly ports: Ports;
  readonly url: string;
  readonly kubernetes: string;
}

// Until the controller manager has made it, no pod can be created.
const firstServiceAccount = "/api/v1/namespaces/default/serviceaccounts/default";

/** Starts a control plane and resolves when it is ready: about 4 s. */
export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const context = await prepare(options);
  const admin = await credentials(context);
  const controlPlane = handle(context, admin);
  try {
    // An API server whose etcd was away for long asks for it again only every two minutes.
    if ((await runningProgram(context.folder, "etcd")) === undefined)
      await controlPlane.kill("kube-apiserver", "SIGTERM");
    for (const program of programs(options)) await controlPlane.start(program);
    await controlPlane.ready();
    return controlPlane;
  } catch (error) {
    if (options.daemon !== true) await controlPlane.stop();
    throw error;
  }
}

async function prepare(options: ControlPlaneOptions): Promise<Context> {
  const kubernetes = await binary("kubernetes", options.say);
  const folder = options.dir ?? clusterFolder(options.name);
  if (options.daemon !== true) {
    await endLeftovers(folder);
    for (const part of ["etcd", "pki", "log", KUBECTL_CACHE]) {
      await rm(join(folder, part), { recursive: true, force: true });
    }
  }
  const running = await Promise.all(programs(options).map((each) => runningProgram(folder, each)));
  await mkdir(folder, { recursive: true, mode: 0o711 });
  const address = options.address ?? "127.0.0.1";
  const areTaken = options.keepPorts === true || running.some((pid) => pid !== undefined);
  const ports = await ownPorts(folder, address, areTaken);
  return {
    options,
    folder,
    pki: join(folder, "pki"),
    address,
    ports,
    url: `https://${address}:${ports.apiServer}`,
    kubernetes,
  };
}

async function credentials({
  options,
  folder,
  pki,
  url,
  address,
}: Context): Promise<{ admin: Certificate; ca: string }> {
  const ca = (await authority(pki)).cert;
  const names = [
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
  ];
  const addresses = [...new Set(["127.0.0.1", address, firstServiceAddress(serviceCidr(options))])];
  await signingKey(pki, "service-account");
  const [admin] = await Promise.all([
    clientCertificate(pki, "admin", { user: "admin", groups: ["system:masters"] }),
    clientCertificate(pki, "kubelet-client", {
      user: "kube-apiserver",
      groups: ["system:masters"],
    }),
    servingCertificate(pki, "kube-apiserver", [...names, ...addresses], { user: "kube-apiserver" }),
  ]);
  await writeKubeconfig({
    path: join(folder, "kubeconfig"),
    cluster: options.name,
    url,
    ca,
    client: admin,
  });
  for (const program of ["kube-controller-manager", "kube-scheduler"]) {
    const client = await clientCertificate(pki, program, { user: `system:${program}` });
    await writeKubeconfig({
      path: join(pki, `${program}.kubeconfig`),
      cluster: options.name,
      url,
      ca,
      client,
    });
  }
  return { admin, ca };
}

function handle(context: Context, { admin, ca }: { admin: Certificate; ca: string }): ControlPlane {
  const { options, folder, pki, url } = context;
  const { name, daemon = false } = options;
  let users = 0;
  return {
    name,
    folder,
    kubeconfig: join(folder, "kubeconfig"),
    url,
    ca,
    daemon,
    async kubeconfigFor(user, groups = []) {
      const file = `user-${process.pid}-${users++}`;
      const client = await clientCertificate(pki, file, { user, groups });
      return writeKubeconfig({
        path: join(pki, `${file}.kubeconfig`),
        cluster: name,
        url,
        ca,
        client,
      });
    },
    kill: (program, signal = "SIGKILL") => endProgram(folder, program, signal),
    async start(program) {
      if ((await runningProgram(folder, program)) !== undefined) return;
      await startProgram({
        name: program,
        argv: [context.kubernetes, program, ...flags[program](context)],
        folder,
        daemon,
      });
    },
    async ready() {
      const isReady = async () => {
        for (const program of ["etcd", "kube-apiserver"]) {
          if ((await runningProgram(folder, program)) === undefined)
            throw new Error(`${program} is not running`);
        }
        const paths = [
          "/readyz",
          ...(options.controllerManager === true ? [firstServiceAccount] : []),
        ];
        const answers = await Promise.all(
          paths.map((path) => get(url + path, { ca, client: admin })),
        );
        return answers.every((answer) => answer.status === 200);
      };
      const evidence = async () =>
        `${await logTail(folder, "etcd")}\n${await logTail(folder, "kube-apiserver")}`;
      await waitUntil(isReady, { what: `the API server of ${name}`, timeoutMs: 60_000, evidence });
    },
    async stop() {
      for (const program of programs(options).toReversed())
        await endProgram(folder, program, daemon ? "SIGTERM" : "SIGKILL");
      await endLeftovers(folder);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

const flags: Record<ControlPlaneProgram, (context: Context) => string[]> = {
  etcd: ({ options, folder, ports }) => [
    `--data-dir=${join(folder, "etcd")}`,
    `--listen-client-urls=http://127.0.0.1:${ports.etcd}`,
    `--advertise-client-urls=http://127.0.0.1:${ports.etcd}`,
    `--listen-peer-urls=http://127.0.0.1:${ports.etcdPeer}`,
    `--initial-advertise-peer-urls=http://127.0.0.1:${ports.etcdPeer}`,
    `--initial-cluster=default=http://127.0.0.1:${ports.etcdPeer}`,
    "--log-level=warn",
    ...(options.fsync === true ? [] : ["--unsafe-no-fsync"]),
  ],
  "kube-apiserver": ({ options, pki, address, ports }) => [
    `--etcd-servers=http://127.0.0.1:${ports.etcd}`,
    `--bind-address=${address}`,
    `--advertise-address=${address}`,
    `--secure-port=${ports.apiServer}`,
    // A loopback address is not allowed as an endpoint of the `kubernetes` service.
    ...(isLoopback(address) ? ["--endpoint-reconciler-type=none"] : []),
    `--service-cluster-ip-range=${serviceCidr(options)}`,
    "--authorization-mode=Node,RBAC",
    // The second is on in OpenShift, off by default: what runs here has the rights that it asks for.
    "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement",
    // Nobody makes the `default` service account without the controller manager, and no pod could be created.
    ...(options.controllerManager === true ? [] : ["--disable-admission-plugins=ServiceAccount"]),
    `--client-ca-file=${join(pki, "ca.crt")}`,
    `--tls-cert-file=${join(pki, "kube-apiserver.crt")}`,
    `--tls-private-key-file=${join(pki, "kube-apiserver.key")}`,
    `--service-account-key-file=${join(pki, "service-account.crt")}`,
    `--service-account-signing-key-file=${join(pki, "service-account.key")}`,
    "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
    `--kubelet-certificate-authority=${join(pki, "ca.crt")}`,
    `--kubelet-client-certificate=${join(pki, "kubelet-client.crt")}`,
    `--kubelet-client-key=${join(pki, "kubelet-client.key")}`,
    "--kubelet-preferred-address-types=InternalIP",
    "--allow-privileged=true",
    ...(options.apiServerArgs ?? []),
  ],
  "kube-controller-manager": ({ pki, ports }) => [
    `--kubeconfig=${join(pki, "kube-controller-manager.kubeconfig")}`,
    `--service-account-private-key-file=${join(pki, "service-account.key")}`,
    `--root-ca-file=${join(pki, "ca.crt")}`,
    `--cluster-signing-cert-file=${join(pki, "ca.crt")}`,
    `--cluster-signing-key-file=${join(pki, "ca.key")}`,
    "--use-service-account-credentials=true",
    "--leader-elect=false",
    "--bind-address=127.0.0.1",
    `--secure-port=${ports.controllerManager}`,
  ],
  "kube-scheduler": ({ pki, ports }) => [
    `--kubeconfig=${join(pki, "kube-scheduler.kubeconfig")}`,
    "--leader-elect=false",
    "--bind-address=127.0.0.1",
    `--secure-port=${ports.scheduler}`,
  ],
};

function programs({ controllerManager, scheduler }: ControlPlaneOptions): ControlPlaneProgram[] {
  return [
    "etcd",
    "kube-apiserver",
    ...(controllerManager === true ? (["kube-controller-manager"] as const) : []),
    ...(scheduler === true ? (["kube-scheduler"] as const) : []),
  ];
}

const isLoopback = (address: string): boolean => address.startsWith("127.");

// Kept in a file, so that a program which is started again, or another process, finds the others where they were.
// After a crash or a reboot they may be somebody else's, but for the API server's on an address that is the cluster's own:
// on another port it would leave the old one in the endpoints of the `kubernetes` service, and no pod would find it.
async function ownPorts(folder: string, address: string, areTaken: boolean): Promise<Ports> {
  const file = join(folder, "ports.json");
  const known = existsSync(file) ? portsFrom(JSON.parse(await readFile(file, "utf8"))) : undefined;
  if (known !== undefined && areTaken) return known;
  const [etcd = 0, etcdPeer = 0, controllerManager = 0, scheduler = 0] = await freePorts(
    4,
    "127.0.0.1",
  );
  const [free = 0] = await freePorts(1, address);
  const apiServer = isLoopback(address) ? free : (known?.apiServer ?? free);
  const ports = { etcd, etcdPeer, apiServer, controllerManager, scheduler };
  await writeFile(file, JSON.stringify(ports));
  return ports;
}

function portsFrom(value: unknown): Ports | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const port = (name: string): number => {
    const found: unknown = Object.entries(value).find(([key]) => key === name)?.[1];
    return typeof found === "number" ? found : 0;
  };
  const ports = {
    etcd: port("etcd"),
    etcdPeer: port("etcdPeer"),
    apiServer: port("apiServer"),
    controllerManager: port("controllerManager"),
    scheduler: port("scheduler"),
  };
  return Object.values(ports).includes(0) ? undefined : ports;
}

function serviceCidr(options: ControlPlaneOptions): string {
  return options.serviceCidr ?? "10.96.0.0/16";
}

function firstServiceAddress(cidr: string): string {
  return cidr.replace(/\.\d+\/\d+$/, ".1");
}
