// A small API server in this process, for what a real one does not do on demand: it fails, delays, drops, goes silent
// or serves old lists when a test says so, and counts every write. It knows list, watch, create, update, merge patch,
// apply (atomic lists), status and delete with preconditions; no admission, no schemas.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { KubeConfig } from "@kubernetes/client-node";
import { ApiError } from "../apierror.ts";
import { Client, type ClientOptions } from "../client.ts";
import { connect } from "../connection.ts";
import { isRecord, type KubeObject } from "../object.ts";
import { keyOf, type Resource } from "../resource.ts";
import { FaultPlan, type RequestFacts } from "./faults.ts";
import { selects } from "./selector.ts";
import { Storage, type StoredKind, type Write } from "./storage.ts";
import { WatchStreams } from "./watchstreams.ts";

export interface JournalEntry extends RequestFacts {
  /** 0 when the connection was dropped. */
  readonly status: number;
  readonly body: unknown;
}

interface Target {
  readonly kind: StoredKind;
  readonly namespace: string;
  readonly name: string;
  readonly sub: "" | "status";
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

export class FakeApiServer {
  readonly storage: Storage;
  readonly faults = new FaultPlan();
  readonly watches: WatchStreams;
  /** Every request but watches, in order of arrival. */
  readonly journal: JournalEntry[] = [];
  readonly #server: Server;
  readonly #clients = new Set<Client>();
  /** While set, lists show the objects of that moment: a server that lags behind. */
  #frozen: { version: number; lists: Map<string, KubeObject[]> } | undefined;
  readonly #pages = new Map<string, { version: number; items: KubeObject[] }>();
  #calls = 0;
  #writes = 0;

  private constructor(kinds: readonly StoredKind[]) {
    this.storage = new Storage(kinds);
    this.watches = new WatchStreams(this.storage);
    this.#server = createServer((request, response) => {
      this.#serve(request, response).catch((error: unknown) => response.destroy(asError(error)));
    });
    this.faults.onKill(() => this.#server.closeAllConnections());
  }

  static async start(kinds: readonly StoredKind[]): Promise<FakeApiServer> {
    const server = new FakeApiServer(kinds);
    await new Promise<void>((resolve) => server.#server.listen(0, "127.0.0.1", resolve));
    return server;
  }

  get url(): string {
    const { port } = this.#server.address() as AddressInfo;
    return `http://127.0.0.1:${port}`;
  }

  /** Writes that were let through to the storage, and those that a fault stopped: all that were asked for. */
  get writes(): readonly JournalEntry[] {
    return this.journal.filter(({ isWrite }) => isWrite);
  }

  kubeconfig(): KubeConfig {
    const configuration = new KubeConfig();
    configuration.loadFromClusterAndUser(
      { name: "fake", server: this.url, skipTLSVerify: true },
      { name: "test" },
    );
    return configuration;
  }

  /** A client of its own connections; closed with the server. */
  async client(options: Partial<ClientOptions> = {}): Promise<Client> {
    const connection = await connect(() => this.kubeconfig());
    const client = new Client(connection, { fieldManager: "test", ...options });
    this.#clients.add(client);
    return client;
  }

  /** Creates an object, or replaces its content, as somebody outside does: no fault touches it. */
  put(of: Resource, object: Record<string, unknown>): KubeObject {
    const kind = this.#kindOf(of);
    const metadata = isRecord(object.metadata) ? object.metadata : {};
    const namespace = String(metadata.namespace ?? "");
    const key = keyOf({ namespace, name: String(metadata.name ?? "") });
    if (this.storage.get(of, key) === undefined) {
      const created = this.storage.create(kind, namespace, object);
      if (object.status === undefined) return created;
    } else this.storage.write(kind, key, "", { verb: "patch", body: object });
    return object.status === undefined
      ? this.#mustGet(of, key)
      : this.storage.write(kind, key, "status", { verb: "update", body: object });
  }

  /** Merges into the status, as a controller of Kubernetes does. */
  putStatus(of: Resource, key: string, status: Record<string, unknown>): KubeObject {
    return this.storage.write(this.#kindOf(of), key, "status", { verb: "patch", body: { status } });
  }

  get(of: Resource, key: string): KubeObject | undefined {
    return this.storage.get(of, key);
  }
  all(of: Resource): KubeObject[] {
    return this.storage.all(of);
  }
  remove(of: Resource, key: string): void {
    this.storage.remove(of, key);
  }

  /** From now on lists show what there is now, until `thawLists`. */
  freezeLists(): void {
    const lists = new Map(
      this.storage.kinds.map(({ resource }) => [resource.plural, this.storage.all(resource)]),
    );
    this.#frozen = { version: this.storage.version, lists };
  }
  thawLists(): void {
    this.#frozen = undefined;
  }

  /** Ends every connection, for a test of a server that goes away; `put` and `get` still work. */
  async stop(): Promise<void> {
    this.watches.end();
    await Promise.all([...this.#clients].map((client) => client.close().catch(() => undefined)));
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://fake");
    const target = this.#target(url.pathname);
    if (request.method === "GET" && url.searchParams.get("watch") === "true") {
      const facts = this.#facts("watch", target);
      const fault = this.faults.next(facts);
      if (fault?.status !== undefined) return answer(response, failure(fault.status, fault));
      if (fault?.drop !== undefined) return drop(response);
      if (target === undefined) return answer(response, failure(404));
      return this.watches.open(target.kind.resource, target.namespace, url.searchParams, response);
    }
    const body = parse(await text(request));
    const facts = this.#facts(verbOf(request, target), target, nameIn(body));
    const { status, value } = await this.#perform(facts, target, url, body, request);
    this.journal.push({ ...facts, status, body });
    if (status === 0) return drop(response);
    answer(response, { status, body: value });
  }

  async #perform(
    facts: RequestFacts,
    target: Target | undefined,
    url: URL,
    body: unknown,
    request: IncomingMessage,
  ): Promise<{ status: number; value: unknown }> {
    const fault = this.faults.next(facts);
    if (fault?.delayMs !== undefined) await new Promise((go) => setTimeout(go, fault.delayMs));
    if (fault !== undefined && fault.after !== true) {
      if (fault.drop === true) return { status: 0, value: undefined };
      if (fault.status !== undefined) {
        return { status: fault.status, value: failure(fault.status, fault).body };
      }
    }
    const done = this.#handle(facts, target, url, body, request);
    if (fault?.after === true) {
      if (fault.drop === true) return { status: 0, value: undefined };
      if (fault.status !== undefined) {
        return { status: fault.status, value: failure(fault.status, fault).body };
      }
    }
    return { status: done.status, value: done.body };
  }

  #handle(
    facts: RequestFacts,
    target: Target | undefined,
    url: URL,
    body: unknown,
    request: IncomingMessage,
  ): Answer {
    if (target === undefined) return failure(404);
    const { kind, namespace, name, sub } = target;
    const { resource } = kind;
    const key = keyOf({ namespace, name });
    const record = isRecord(body) ? body : {};
    try {
      switch (facts.verb) {
        case "list":
          return { status: 200, body: this.#list(resource, namespace, url.searchParams) };
        case "get":
          return { status: 200, body: this.#mustGet(resource, key) };
        case "create":
          return { status: 201, body: this.storage.create(kind, namespace, record) };
        case "delete": {
          const preconditions = isRecord(record.preconditions) ? record.preconditions : {};
          const { propagationPolicy } = record;
          const left = this.storage.remove(resource, key, { ...preconditions, propagationPolicy });
          return { status: 200, body: left ?? { kind: "Status", status: "Success" } };
        }
        default:
          return {
            status: 200,
            body: this.storage.write(kind, key, sub, writeOf(request, record, url)),
          };
      }
    } catch (error) {
      if (error instanceof ApiError) return failure(error.code, error);
      throw error;
    }
  }

  #list(of: Resource, namespace: string, query: URLSearchParams): unknown {
    const token = query.get("continue");
    let page = token === null ? undefined : this.#pages.get(token);
    if (token !== null && page === undefined) throw new ApiError(410, "Expired", "too old");
    if (page === undefined) {
      const all = this.#frozen?.lists.get(of.plural) ?? this.storage.all(of);
      const items = all.filter((object) => selects(object, namespace, query.get("labelSelector")));
      page = { version: this.#frozen?.version ?? this.storage.version, items };
    }
    const limit = Number(query.get("limit") ?? 0) || page.items.length;
    const rest = page.items.slice(limit);
    const metadata: Record<string, unknown> = { resourceVersion: String(page.version) };
    if (rest.length > 0) {
      const next = `page-${this.#pages.size + 1}`;
      this.#pages.set(next, { version: page.version, items: rest });
      metadata.continue = next;
    }
    const items = page.items.slice(0, limit).map((item) => {
      // The items of a list of a kind that the API server was built with do not say what they are.
      const { apiVersion, kind, ...rest } = item;
      return of.group === "" || !of.group.includes(".") || of.group.endsWith(".k8s.io")
        ? rest
        : item;
    });
    return { kind: `${of.kind}List`, metadata, items };
  }

  #facts(verb: string, target: Target | undefined, named = ""): RequestFacts {
    this.#calls += 1;
    const isWrite = !["get", "list", "watch"].includes(verb);
    if (isWrite) this.#writes += 1;
    const name = target?.name || named;
    return {
      verb,
      plural: target?.kind.resource.plural ?? "",
      key: keyOf({ namespace: target?.namespace ?? "", name }),
      sub: target?.sub ?? "",
      call: this.#calls,
      isWrite,
      write: isWrite ? this.#writes : 0,
    };
  }

  #target(path: string): Target | undefined {
    const parts = path.split("/").filter((part) => part !== "");
    const [root, ...more] = parts.map(decodeURIComponent);
    const group = root === "api" ? "" : more.shift();
    const version = more.shift();
    const namespace = more[0] === "namespaces" && more.length > 2 ? more.splice(0, 2)[1] : "";
    const [plural, name = "", sub = ""] = more;
    const kind = this.storage.kinds.find(
      ({ resource }) =>
        resource.group === group && resource.version === version && resource.plural === plural,
    );
    if (kind === undefined || (sub !== "" && sub !== "status")) return undefined;
    return { kind, namespace: namespace ?? "", name, sub };
  }

  #kindOf(of: Resource): StoredKind {
    const kind = this.storage.kinds.find(({ resource }) => resource.plural === of.plural);
    if (kind === undefined) throw new Error(`this server has no ${of.plural}`);
    return kind;
  }

  #mustGet(of: Resource, key: string): KubeObject {
    const object = this.storage.get(of, key);
    if (object === undefined)
      throw new ApiError(404, "NotFound", `${of.plural} "${key}" not found`);
    return object;
  }
}

const verbOf = ({ method, headers }: IncomingMessage, target: Target | undefined): string => {
  if (method === "GET") return target?.name === "" ? "list" : "get";
  if (method === "POST") return "create";
  if (method === "PUT") return "update";
  if (method === "DELETE") return "delete";
  return headers["content-type"] === "application/apply-patch+yaml" ? "apply" : "patch";
};

const writeOf = (request: IncomingMessage, body: Record<string, unknown>, url: URL): Write => {
  if (request.method === "PUT") return { verb: "update", body };
  switch (request.headers["content-type"]) {
    case "application/merge-patch+json":
      return { verb: "patch", body };
    case "application/apply-patch+yaml":
      return { verb: "apply", body, manager: url.searchParams.get("fieldManager") ?? "" };
    default:
      throw new ApiError(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format",
      );
  }
};

const failure = (
  code: number,
  extra: { reason?: string; message?: string; retryAfterSeconds?: number | undefined } = {},
): Answer => ({
  status: code,
  body: {
    kind: "Status",
    status: "Failure",
    code,
    reason: extra.reason ?? new ApiError(code, "", "").reason,
    message: extra.message ?? `fault ${code}`,
    details: { retryAfterSeconds: extra.retryAfterSeconds },
  },
});

const answer = (response: ServerResponse, { status, body }: Answer): void => {
  const details = isRecord(body) && isRecord(body.details) ? body.details : {};
  if (typeof details.retryAfterSeconds === "number") {
    response.setHeader("retry-after", String(details.retryAfterSeconds));
  }
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
};

const drop = (response: ServerResponse): void => {
  response.socket?.destroy();
};

const parse = (body: string): unknown => (body === "" ? undefined : JSON.parse(body));

const nameIn = (body: unknown): string =>
  isRecord(body) && isRecord(body.metadata) ? String(body.metadata.name ?? "") : "";

const asError = (error: unknown): Error => (error instanceof Error ? error : new Error("failed"));
