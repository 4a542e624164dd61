// How the API server is reached: address, TLS, proxy and credentials, all as the client library reads them.

import { HttpMethod, KubeConfig, RequestContext } from "@kubernetes/client-node";
import { Agent, type Dispatcher } from "undici";

export interface Connection {
  readonly origin: string;
  /** Prefix of every path, without a slash at its end; most servers have none. */
  readonly basePath: string;
  readonly dispatcher: Dispatcher;
  /** Credentials. Cached for half a minute; `renew` reads everything again, as after a 401. */
  headers(renew?: boolean): Promise<Readonly<Record<string, string>>>;
  close(): Promise<void>;
}

/** Projected tokens rotate; the library itself re-reads a token file once a minute. */
const HEADERS_FOR_MS = 30_000;

/** The kubeconfig at `path`, or what `kubectl` would use, or the service account of this pod. */
export const loadConfiguration = (path?: string): KubeConfig => {
  const configuration = new KubeConfig();
  if (path !== undefined) configuration.loadFromFile(path);
  else configuration.loadFromDefault();
  return configuration;
};

/** Reads the configuration; opens nothing yet. Throws where it names no cluster, or an unreadable file. */
export const connect = async (load: () => KubeConfig): Promise<Connection> => {
  const configuration = load();
  const cluster = configuration.getCurrentCluster();
  if (cluster === null) throw new Error("the kubeconfig has no current cluster");
  const url = new URL(cluster.server);
  const first = await authenticate(configuration, cluster.server);
  const dispatcher = first.dispatcher ?? new Agent({ connect: { keepAlive: true } });
  let { headers } = first;
  let readAt = performance.now();
  let source = configuration;
  return {
    origin: url.origin,
    basePath: url.pathname.replace(/\/$/, ""),
    dispatcher,
    async headers(renew = false) {
      if (!renew && performance.now() - readAt < HEADERS_FOR_MS) return headers;
      if (renew) source = load();
      readAt = performance.now();
      const read = await authenticate(source, cluster.server);
      headers = read.headers;
      await read.dispatcher?.close();
      return headers;
    },
    close: () => dispatcher.destroy(),
  };
};

const authenticate = async (configuration: KubeConfig, server: string) => {
  const context = new RequestContext(server, HttpMethod.GET);
  await configuration.applySecurityAuthentication(context);
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(context.getHeaders())) {
    headers[name.toLowerCase()] = value.trim();
  }
  return { headers, dispatcher: context.getDispatcher() };
};
