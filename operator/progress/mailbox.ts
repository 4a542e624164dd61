// Reports between the endpoint and the status: of steps only the newest, of epochs and evaluations all that are not
// written yet. And when to write: rarely, but soon after what people wait for.

import type { DatasetReport } from "../../api/dataset.ts";
import type { ImportEvent, ProgressReport, TrainingEvent } from "../../api/progress.ts";

type EventOf<T extends TrainingEvent["type"]> = Extract<TrainingEvent, { type: T }>;

/** What came for one object since the last acknowledged write. */
export interface Pending {
  readonly attempt: number;
  /** Of the newest report; what is written with it is acknowledged by it. */
  readonly sequence: number;
  /** When the newest report came, in milliseconds since 1970. */
  readonly receivedMs: number;
  /** Something that people wait for: a phase, an epoch's end, an evaluation, the first speed, an import's report. */
  readonly urgent: boolean;
  readonly started?: EventOf<"started">;
  readonly phase?: EventOf<"phase">["phase"];
  readonly step?: EventOf<"step">;
  /** In order, the newest 128. */
  readonly epochs: readonly EventOf<"epoch">[];
  readonly checkpoint?: EventOf<"checkpoint">;
  /** The newest of each split. */
  readonly evaluations: readonly EventOf<"evaluation">[];
  readonly import?: Extract<ImportEvent, { type: "import" }>;
  readonly report?: DatasetReport;
}

interface Item {
  readonly sequence: number;
  readonly event: TrainingEvent | ImportEvent;
  readonly slot: string;
  readonly urgent: boolean;
}

interface Box {
  attempt: number;
  receivedMs: number;
  items: Item[];
  hasSpeed: boolean;
  importPhase: string;
  readonly waiters: Set<{ readonly sequence: number; readonly settle: (error?: Error) => void }>;
}

const EPOCHS_MAX = 128;
/** How long the writer of a report is waited for. */
const WRITTEN_WITHIN_MS = 20_000;

export class Mailbox {
  readonly #boxes = new Map<string, Box>();

  /** Puts in a report. One of a newer attempt replaces all of an older one. */
  put(uid: string, { attempt, sequence, event }: ProgressReport, nowMs: number): void {
    const box = this.#boxFor(uid, attempt);
    const slot = slotOf(event, sequence);
    const item = { sequence, event, slot, urgent: isUrgent(event, box) };
    if (event.type === "step" && event.imagesPerSecond !== undefined) box.hasSpeed = true;
    if (event.type === "import") box.importPhase = event.phase;
    // An urgent item that a newer one of its slot replaces stays urgent until it is written.
    const former = box.items.find((other) => other.slot === slot);
    box.items = box.items.filter((other) => other.slot !== slot);
    box.items.push(former?.urgent ? { ...item, urgent: true } : item);
    box.receivedMs = nowMs;
    const epochs = box.items.filter((other) => other.event.type === "epoch");
    const oldest = epochs[0];
    if (epochs.length > EPOCHS_MAX) box.items = box.items.filter((other) => other !== oldest);
  }

  /** What waits to be written; undefined where nothing does. */
  peek(uid: string): Pending | undefined {
    const box = this.#boxes.get(uid);
    if (box === undefined || box.items.length === 0) return undefined;
    const epochs: EventOf<"epoch">[] = [];
    const evaluations: EventOf<"evaluation">[] = [];
    let single: Partial<Pending> = {};
    for (const { event } of box.items) {
      if (event.type === "epoch") epochs.push(event);
      else if (event.type === "evaluation") evaluations.push(event);
      else single = { ...single, ...fieldOf(event) };
    }
    return {
      ...single,
      attempt: box.attempt,
      sequence: Math.max(...box.items.map(({ sequence }) => sequence)),
      receivedMs: box.receivedMs,
      urgent: box.items.some(({ urgent }) => urgent),
      epochs,
      evaluations,
    };
  }

  /** Forgets what was written: everything of this attempt up to a sequence. */
  acknowledge(uid: string, attempt: number, sequence: number): void {
    const box = this.#boxes.get(uid);
    if (box === undefined || box.attempt !== attempt) return;
    box.items = box.items.filter((item) => item.sequence > sequence);
    for (const waiter of box.waiters) if (waiter.sequence <= sequence) waiter.settle();
  }

  /** Resolves when a report is acknowledged; rejects where that takes too long, or the object goes. */
  written(uid: string, attempt: number, sequence: number): Promise<void> {
    const box = this.#boxFor(uid, attempt);
    if (!box.items.some((item) => item.sequence === sequence)) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const settle = (error?: Error) => {
        clearTimeout(timer);
        box.waiters.delete(waiter);
        if (error === undefined) resolve();
        else reject(error);
      };
      const waiter = { sequence, settle };
      const timer = setTimeout(() => settle(new Error("not written in time")), WRITTEN_WITHIN_MS);
      box.waiters.add(waiter);
    });
  }

  /** Forgets an object: it is gone, or its run has its outcome. */
  drop(uid: string): void {
    const box = this.#boxes.get(uid);
    this.#boxes.delete(uid);
    for (const waiter of box?.waiters ?? []) waiter.settle(new Error("the object is gone"));
  }

  get size(): number {
    return this.#boxes.size;
  }

  #boxFor(uid: string, attempt: number): Box {
    const known = this.#boxes.get(uid);
    if (known !== undefined && known.attempt >= attempt) return known;
    for (const waiter of known?.waiters ?? []) waiter.settle(new Error("another attempt began"));
    const box: Box = {
      attempt,
      receivedMs: 0,
      items: [],
      hasSpeed: false,
      importPhase: "",
      waiters: new Set(),
    };
    this.#boxes.set(uid, box);
    return box;
  }
}

/** Of two events in one slot only the newer is kept. */
const slotOf = (event: TrainingEvent | ImportEvent, sequence: number): string => {
  if (event.type === "epoch") return `epoch ${sequence}`;
  return event.type === "evaluation" ? `evaluation ${event.split}` : event.type;
};

const isUrgent = (event: TrainingEvent | ImportEvent, box: Box): boolean => {
  switch (event.type) {
    case "step":
      return event.imagesPerSecond !== undefined && !box.hasSpeed;
    case "checkpoint":
      return false;
    case "import":
      return event.phase !== box.importPhase;
    default:
      return true;
  }
};

const fieldOf = (event: TrainingEvent | ImportEvent): Partial<Pending> => {
  switch (event.type) {
    case "started":
      return { started: event };
    case "phase":
      return { phase: event.phase };
    case "step":
      return { step: event };
    case "checkpoint":
      return { checkpoint: event };
    case "import":
      return { import: event };
    case "report":
      return { report: event.report };
    default:
      return {};
  }
};

/** Least time between two writes for one object. */
export const WRITE_EVERY_MS = 10_000;
/** The same for what people wait for: a run of one-second epochs costs a write a second, not more. */
export const URGENT_EVERY_MS = 1_000;

/** Milliseconds until what is pending may be written; 0 = now. `lastWriteMs` is undefined where nothing was yet. */
export const writeDelayMs = (
  pending: Pick<Pending, "urgent">,
  lastWriteMs: number | undefined,
  nowMs: number,
): number => {
  if (lastWriteMs === undefined) return 0;
  const everyMs = pending.urgent ? URGENT_EVERY_MS : WRITE_EVERY_MS;
  // A clock that was set back must not stop the writing: then the interval begins anew.
  const sinceMs = Math.max(0, nowMs - lastWriteMs);
  return Math.max(0, everyMs - sinceMs);
};
