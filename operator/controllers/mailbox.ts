// Where accepted progress reports wait for their object's next status write.

import { isAwaited, type Mail, replaces } from "../plan/mail.ts";

/** A report that must be written before it is acknowledged is refused after so long; its sender tries again. */
const WRITTEN_WITHIN_MS = 12_000;
/** More than a well-behaved run sends between two writes; the oldest are dropped. */
const MAILS_MAX = 256;

interface Waiting extends Mail {
  readonly written: PromiseWithResolvers<void>;
}

export class Mailbox {
  readonly #mails = new Map<string, Waiting[]>();
  readonly #onMail: (uid: string) => void;

  /** `onMail` is told whose mail came. */
  constructor(onMail: (uid: string) => void) {
    this.#onMail = onMail;
  }

  /** Takes a report in. Resolves when it is in the object's status, or has become needless. */
  put(uid: string, mail: Mail): Promise<void> {
    const { report } = mail;
    const waiting = (this.#mails.get(uid) ?? []).filter((older) => {
      if (!replaces(report, older.report)) return true;
      if (isAwaited(older.report)) older.written.reject(new Error("a newer report has come"));
      else older.written.resolve();
      return false;
    });
    if (waiting.length >= MAILS_MAX) waiting.shift()?.written.resolve();
    const written = Promise.withResolvers<void>();
    waiting.push({ ...mail, written });
    this.#mails.set(uid, waiting);
    this.#onMail(uid);
    const timer = setTimeout(
      () => written.reject(new Error("the report was not written in time")),
      WRITTEN_WITHIN_MS,
    );
    return written.promise.finally(() => clearTimeout(timer));
  }

  read(uid: string): readonly Mail[] {
    return [...(this.#mails.get(uid) ?? [])];
  }

  /** These are in the status now, or change nothing. */
  settle(uid: string, mails: readonly Mail[]): void {
    const settled = new Set(mails);
    const left = (this.#mails.get(uid) ?? []).filter((mail) => {
      if (!settled.has(mail)) return true;
      mail.written.resolve();
      return false;
    });
    if (left.length === 0) this.#mails.delete(uid);
    else this.#mails.set(uid, left);
  }

  /** These can never be in the status: whoever waits for one is told so. */
  refuse(uid: string, mails: readonly Mail[], why: unknown): void {
    const refused = new Set(mails);
    for (const mail of this.#mails.get(uid) ?? []) if (refused.has(mail)) mail.written.reject(why);
    this.settle(uid, mails);
  }

  /** The object is gone. */
  forget(uid: string): void {
    for (const { written } of this.#mails.get(uid) ?? []) written.resolve();
    this.#mails.delete(uid);
  }
}
