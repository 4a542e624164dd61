// Kubernetes Events: what `kubectl describe` shows below an object. Best effort: never waited for, never a reason to
// fail, the same thing said again is counted instead of repeated, and a flood is cut off.

import { createHash, randomUUID } from "node:crypto";
import type { Client } from "./client.ts";
import { microTime } from "./lease.ts";
import type { Manifest } from "./object.ts";
import { resource } from "./resource.ts";

export const events = resource("events.k8s.io", "v1", "Event", "events");

export interface Regarding {
  readonly apiVersion: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

export interface EventText {
  readonly type: "Normal" | "Warning";
  /** PascalCase. */
  readonly reason: string;
  /** What was done or tried, PascalCase: `CreateJob`. */
  readonly action: string;
  readonly note: string;
}

export interface EventsOptions {
  readonly client: Client;
  /** `reportingController`: a qualified name. */
  readonly controller: string;
  /** `reportingInstance`: this process. */
  readonly instance: string;
  /** Told of an event that could not be written, or was cut off. */
  readonly onDropped?: (why: string) => void;
}

const NOTE_MAX_BYTES = 1024;
/** The same event is one event for so long. */
const SAME_FOR_MS = 10 * 60_000;
/** How long counts are gathered before they are written. */
const COUNT_AFTER_MS = 60_000;
const REMEMBERED = 4_096;
/** Different events about one object: so many at once, then one more every so often. */
const OBJECT_BURST = 25;
const OBJECT_EVERY_MS = 60_000;
const WAITING_MAX = 1_000;
const IN_FLIGHT_MAX = 4;

interface Said {
  readonly name: string;
  readonly namespace: string;
  readonly until: number;
  count: number;
  isWritten: boolean;
  timer: NodeJS.Timeout | undefined;
}

export class Events {
  readonly #options: EventsOptions;
  readonly #said = new Map<string, Said>();
  readonly #objects = new Map<string, { tokens: number; at: number }>();
  readonly #waiting: Array<() => Promise<unknown>> = [];
  #inFlight = 0;
  readonly #idle: Array<() => void> = [];

  constructor(options: EventsOptions) {
    this.#options = options;
  }

  /** Says something about an object. Returns at once. */
  emit(about: Regarding, text: EventText): void {
    const now = performance.now();
    const note = bounded(text.note, NOTE_MAX_BYTES);
    const key = [about.uid, text.type, text.reason, text.action, note].join("\n");
    const said = this.#said.get(key);
    if (said !== undefined && now < said.until) {
      said.count += 1;
      said.timer ??= this.#countLater(said);
      return;
    }
    if (!this.#mayAdd(about.uid, now)) {
      this.#options.onDropped?.(`too many events about ${about.kind} ${about.name}`);
      return;
    }
    const name = `${about.name.slice(0, 200)}.${shortHash(key)}${randomUUID().slice(0, 8)}`;
    const namespace = about.namespace === "" ? "default" : about.namespace;
    this.#said.delete(key);
    const first: Said = {
      name,
      namespace,
      until: now + SAME_FOR_MS,
      count: 1,
      isWritten: false,
      timer: undefined,
    };
    remember(this.#said, key, first);
    const manifest = this.#manifest(about, { ...text, note }, name, namespace);
    this.#queue(async () => {
      await this.#options.client.create(events, manifest, { lane: "always" });
      first.isWritten = true;
    });
  }

  /** Writes the counts that were gathered, and resolves when nothing waits any more. */
  async flush(): Promise<void> {
    // First the events themselves: what does not exist cannot be counted.
    await this.#drained();
    for (const said of this.#said.values()) {
      if (said.timer === undefined) continue;
      clearTimeout(said.timer);
      this.#count(said);
    }
    await this.#drained();
  }

  async #drained(): Promise<void> {
    if (this.#inFlight > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  #manifest(about: Regarding, text: EventText, name: string, namespace: string): Manifest {
    return {
      apiVersion: "events.k8s.io/v1",
      kind: "Event",
      metadata: { name, namespace },
      eventTime: microTime(new Date()),
      reportingController: this.#options.controller,
      reportingInstance: this.#options.instance.slice(0, 128),
      action: text.action,
      reason: text.reason,
      regarding: about,
      note: text.note,
      type: text.type,
    };
  }

  #mayAdd(uid: string, now: number): boolean {
    const known = this.#objects.get(uid) ?? { tokens: OBJECT_BURST, at: now };
    const tokens = Math.min(OBJECT_BURST, known.tokens + (now - known.at) / OBJECT_EVERY_MS);
    const may = tokens >= 1;
    this.#objects.delete(uid);
    remember(this.#objects, uid, { tokens: may ? tokens - 1 : tokens, at: now });
    return may;
  }

  #countLater(said: Said): NodeJS.Timeout {
    return setTimeout(() => this.#count(said), COUNT_AFTER_MS).unref();
  }

  #count(said: Said): void {
    said.timer = undefined;
    if (!said.isWritten) return;
    const { namespace, name, count } = said;
    const series = { count, lastObservedTime: microTime(new Date()) };
    this.#queue(() =>
      this.#options.client.patch(events, { namespace, name }, { series }, { lane: "always" }),
    );
  }

  #queue(write: () => Promise<unknown>): void {
    if (this.#waiting.length >= WAITING_MAX) {
      this.#options.onDropped?.("too many events are waiting");
      return;
    }
    this.#waiting.push(write);
    this.#next();
  }

  #next(): void {
    if (this.#inFlight >= IN_FLIGHT_MAX) return;
    const write = this.#waiting.shift();
    if (write === undefined) {
      if (this.#inFlight === 0) for (const resolve of this.#idle.splice(0)) resolve();
      return;
    }
    this.#inFlight += 1;
    write()
      .catch((error: unknown) => this.#options.onDropped?.(String(error)))
      .finally(() => {
        this.#inFlight -= 1;
        this.#next();
      });
  }
}

const remember = <V>(map: Map<string, V>, key: string, value: V): void => {
  map.set(key, value);
  if (map.size <= REMEMBERED) return;
  const oldest = map.keys().next().value;
  if (oldest !== undefined) map.delete(oldest);
};

const shortHash = (text: string): string =>
  createHash("sha256").update(text).digest("hex").slice(0, 8);

/** The text in one line and at most so many bytes of UTF-8, cut between characters. */
export const bounded = (text: string, maxBytes: number): string => {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is replaced
  const line = text.replace(/[\u0000-\u001f\u007f]+/g, " ").trim();
  const bytes = Buffer.from(line);
  if (bytes.length <= maxBytes) return line;
  const dots = "…";
  const cut = bytes.subarray(0, maxBytes - Buffer.byteLength(dots)).toString("utf8");
  return `${cut.replace(/\ufffd+$/, "")}${dots}`;
};
