// The open watches of the fake API server, and what can go wrong with them.

import type { ServerResponse } from "node:http";
import type { KubeObject } from "../object.ts";
import type { Resource } from "../resource.ts";
import { selects } from "./selector.ts";
import type { LogEntry, Storage } from "./storage.ts";

interface Stream {
  readonly plural: string;
  readonly matches: (object: KubeObject) => boolean;
  readonly response: ServerResponse;
  readonly wantsBookmarks: boolean;
  isSilent: boolean;
}

interface Event {
  readonly type: string;
  readonly object: unknown;
}

export class WatchStreams {
  readonly #storage: Storage;
  readonly #streams = new Set<Stream>();
  /** Events before this version are forgotten: a watch from there gets 410. */
  #compacted = 0;
  #shape: (entry: LogEntry) => number = () => 1;
  #held: Array<() => void> | undefined;
  #opened = 0;

  constructor(storage: Storage) {
    this.#storage = storage;
    storage.onEntry((entry) => {
      for (const stream of this.#streams) this.#deliver(stream, entry);
    });
  }

  /** Watches open now. */
  get count(): number {
    return this.#streams.size;
  }
  /** Watches opened so far. */
  get opened(): number {
    return this.#opened;
  }

  open(of: Resource, namespace: string, query: URLSearchParams, response: ServerResponse): void {
    this.#opened += 1;
    const from = Number(query.get("resourceVersion"));
    response.writeHead(200, { "content-type": "application/json" });
    if (from < this.#compacted) {
      response.end(line({ type: "ERROR", object: gone }));
      return;
    }
    const selector = query.get("labelSelector");
    const stream: Stream = {
      plural: of.plural,
      matches: (object) => selects(object, namespace, selector),
      response,
      wantsBookmarks: query.get("allowWatchBookmarks") === "true",
      isSilent: false,
    };
    response.flushHeaders();
    this.#streams.add(stream);
    response.once("close", () => this.#streams.delete(stream));
    for (const entry of this.#storage.log) {
      if (entry.version > from) this.#deliver(stream, entry);
    }
    const timeoutSeconds = Number(query.get("timeoutSeconds") ?? 0);
    if (timeoutSeconds > 0) {
      const timer = setTimeout(() => response.end(), timeoutSeconds * 1000);
      response.once("close", () => clearTimeout(timer));
    }
  }

  /** Sends a bookmark of the newest version to all who asked for bookmarks. */
  bookmark(): void {
    const metadata = { resourceVersion: String(this.#storage.version) };
    for (const stream of this.#streams) {
      if (stream.wantsBookmarks) send(stream, { type: "BOOKMARK", object: { metadata } });
    }
  }

  /** Sends an arbitrary event, or arbitrary bytes, to all. */
  send(event: Event | string): void {
    for (const stream of this.#streams) send(stream, event);
  }

  /** Nothing more is sent on the watches that are open now, though they stay open: a half-open connection. */
  silence(): void {
    for (const stream of this.#streams) stream.isSilent = true;
  }

  /** Ends every watch as a server does at its time limit. */
  end(): void {
    for (const { response } of this.#streams) response.end();
  }

  /** Breaks every connection in the middle of an event. */
  cut(): void {
    for (const { response } of this.#streams) {
      response.write('{"type":"MODIFIED","object":{"metada', () => response.socket?.destroy());
    }
  }

  /** Forgets all events up to now: a new watch from before gets 410. */
  forget(): void {
    this.#compacted = this.#storage.version;
  }

  /** Forgets, and tells the open watches so. */
  compact(): void {
    this.forget();
    this.send({ type: "ERROR", object: gone });
    this.end();
  }

  /** How often an event is delivered: 0 loses it, 2 repeats it. */
  shape(times: (entry: LogEntry) => number): void {
    this.#shape = times;
  }

  /** Collects events instead of sending them; `release` sends them in the order that it is given. */
  hold(): void {
    this.#held = [];
  }
  release(order: (events: Array<() => void>) => Array<() => void> = (events) => events): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const sendIt of order(held)) sendIt();
  }

  #deliver(stream: Stream, entry: LogEntry): void {
    const event = stream.plural === entry.plural ? eventFor(stream, entry) : undefined;
    if (event === undefined) return;
    for (let time = 0; time < this.#shape(entry); time += 1) {
      if (this.#held === undefined) send(stream, event);
      else this.#held.push(() => send(stream, event));
    }
  }
}

const eventFor = (stream: Stream, entry: LogEntry): Event | undefined => {
  const { type, object, previous } = entry;
  const was = previous !== undefined && stream.matches(previous);
  if (type === "DELETED") return was ? { type, object } : undefined;
  if (stream.matches(object)) return { type: was ? "MODIFIED" : "ADDED", object };
  return was ? { type: "DELETED", object } : undefined;
};

const send = ({ response, isSilent }: Stream, event: Event | string): void => {
  if (!isSilent) response.write(typeof event === "string" ? event : line(event));
};

const line = (event: Event): string => `${JSON.stringify(event)}\n`;

const gone = {
  kind: "Status",
  status: "Failure",
  code: 410,
  reason: "Expired",
  message: "too old resource version",
};
