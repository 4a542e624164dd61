// The certificate of the progress endpoint, kept in a Secret: the authority that pods trust outlives the server's
// certificate, so that a renewal never cuts off a pod that runs.

import { createPrivateKey, X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { isAlreadyExists, isConflict } from "../runtime/apierror.ts";
import type { Client } from "../runtime/client.ts";
import { isRecord, type KubeObject } from "../runtime/object.ts";
import { resource } from "../runtime/resource.ts";
import { authorityCertificate, type Identity, newKey, serverIdentity } from "./x509.ts";

/** All PEM. `ca` is what pods trust. */
export interface EndpointCertificate extends Identity {
  readonly ca: string;
}

export interface CertificateOptions {
  readonly namespace: string;
  readonly secretName: string;
  /** DNS names and IP addresses that pods call. */
  readonly dnsNames: readonly string[];
  /** Milliseconds since 1970. Default: now. */
  readonly nowMs?: number;
  /** Labels of the Secret. */
  readonly labels?: Readonly<Record<string, string>>;
}

const secrets = resource("", "v1", "Secret", "secrets");

const AUTHORITY = "deeptrain-progress-ca";
const AUTHORITY_DAYS = 3650;
const SERVER_DAYS = 365;
const DAY_MS = 24 * 3_600_000;
/** A certificate with less time than this is renewed: a third of its life, and longer than a long training. */
const SERVER_RENEWED_MS = (SERVER_DAYS / 3) * DAY_MS;
const AUTHORITY_RENEWED_MS = 2 * SERVER_DAYS * DAY_MS;

const TRIES = 5;

/**
 * Reads the certificate from its Secret; makes or renews it where that is needed. Of several processes that do so at
 * once one wins, and all get what it wrote. Rejects with `ApiError` where the Secret can be neither read nor written.
 */
export const ensureCertificate = async (
  client: Client,
  options: CertificateOptions,
): Promise<EndpointCertificate> => {
  const { namespace, secretName: name } = options;
  const nowMs = options.nowMs ?? Date.now();
  for (let attempt = 1; ; attempt += 1) {
    const secret = await client.get(secrets, { namespace, name });
    const kept = secret === undefined ? undefined : contentOf(secret);
    const wanted = renewed(kept, options.dnsNames, nowMs);
    if (wanted === kept) return wanted;
    try {
      await write(client, options, wanted, secret);
      return wanted;
    } catch (error) {
      const isRace = isAlreadyExists(error) || isConflict(error);
      if (!isRace || attempt >= TRIES) throw error;
    }
  }
};

interface Content extends EndpointCertificate {
  readonly caKey: string;
}

/** What is there, where it will do; else its successor. The authority's key is kept as long as it can be read. */
const renewed = (kept: Content | undefined, hosts: readonly string[], nowMs: number): Content => {
  if (kept === undefined) {
    const caKey = newKey();
    return issued(
      caKey,
      authorityCertificate(caKey, AUTHORITY, AUTHORITY_DAYS, nowMs),
      hosts,
      nowMs,
    );
  }
  const isOld = msLeft(kept.ca, nowMs) < AUTHORITY_RENEWED_MS;
  const ca = isOld ? authorityCertificate(kept.caKey, AUTHORITY, AUTHORITY_DAYS, nowMs) : kept.ca;
  return isOld || needsRenewal(kept, hosts, nowMs) ? issued(kept.caKey, ca, hosts, nowMs) : kept;
};

const issued = (caKey: string, ca: string, hosts: readonly string[], nowMs: number): Content => ({
  ca,
  caKey,
  ...serverIdentity({ key: caKey, commonName: AUTHORITY }, hosts, SERVER_DAYS, nowMs),
});

/** True where the certificate expires within four months, lacks a name, or is not the authority's. */
export const needsRenewal = (
  { ca, certificate, key }: EndpointCertificate,
  hosts: readonly string[],
  nowMs: number,
): boolean => {
  const server = new X509Certificate(certificate);
  return (
    msLeft(certificate, nowMs) < SERVER_RENEWED_MS ||
    !server.checkPrivateKey(createPrivateKey(key)) ||
    !server.verify(new X509Certificate(ca).publicKey) ||
    !hosts.every((host) =>
      isIP(host) === 0 ? server.checkHost(host) !== undefined : server.checkIP(host) !== undefined,
    )
  );
};

/** Negative before its time too: a certificate of the future is no use. */
const msLeft = (certificate: string, nowMs: number): number => {
  const { validFromDate, validToDate } = new X509Certificate(certificate);
  return validFromDate.getTime() > nowMs ? -1 : validToDate.getTime() - nowMs;
};

const fields = {
  ca: "ca.crt",
  caKey: "ca.key",
  certificate: "tls.crt",
  key: "tls.key",
} as const;

/** Undefined where a part is missing or unreadable: then all is made anew. */
const contentOf = ({ data }: KubeObject): Content | undefined => {
  const read = (field: string): string => {
    const value = isRecord(data) ? data[field] : undefined;
    return typeof value === "string" ? Buffer.from(value, "base64").toString("utf8") : "";
  };
  const content = {
    ca: read(fields.ca),
    caKey: read(fields.caKey),
    certificate: read(fields.certificate),
    key: read(fields.key),
  };
  try {
    const ca = new X509Certificate(content.ca);
    const isWhole = ca.checkPrivateKey(createPrivateKey(content.caKey));
    new X509Certificate(content.certificate);
    createPrivateKey(content.key);
    return isWhole ? content : undefined;
  } catch {
    return undefined;
  }
};

const write = (
  client: Client,
  { namespace, secretName: name, labels }: CertificateOptions,
  content: Content,
  old: KubeObject | undefined,
): Promise<KubeObject> => {
  const data = Object.fromEntries(
    (["ca", "caKey", "certificate", "key"] as const).map((part) => [
      fields[part],
      Buffer.from(content[part]).toString("base64"),
    ]),
  );
  const metadata = { namespace, name, ...(labels === undefined ? {} : { labels }) };
  const secret = { apiVersion: "v1", kind: "Secret", type: "Opaque", metadata, data };
  if (old === undefined) return client.create(secrets, secret, { lane: "always" });
  const { resourceVersion } = old.metadata;
  const type = typeof old.type === "string" ? old.type : secret.type;
  return client.replace(
    secrets,
    { ...secret, type, metadata: { ...metadata, resourceVersion } },
    { lane: "always" },
  );
};
