// Certificates as DER: an authority of our own and the servers it vouches for. ECDSA P-256 with SHA-256 throughout.

import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from "node:crypto";
import { isIP } from "node:net";
import { AsnConvert, OctetString } from "@peculiar/asn1-schema";
import {
  AlgorithmIdentifier,
  AttributeTypeAndValue,
  AttributeValue,
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate,
  ExtendedKeyUsage,
  Extension,
  Extensions,
  GeneralName,
  id_ce_authorityKeyIdentifier,
  id_ce_basicConstraints,
  id_ce_extKeyUsage,
  id_ce_keyUsage,
  id_ce_subjectAltName,
  id_ce_subjectKeyIdentifier,
  id_kp_serverAuth,
  KeyIdentifier,
  KeyUsage,
  KeyUsageFlags,
  Name,
  RelativeDistinguishedName,
  SubjectAlternativeName,
  SubjectKeyIdentifier,
  SubjectPublicKeyInfo,
  TBSCertificate,
  Validity,
  Version,
} from "@peculiar/asn1-x509";

/** A certificate and its private key, both PEM. */
export interface Identity {
  readonly certificate: string;
  readonly key: string;
}

const DAY_MS = 24 * 3_600_000;
/** A clock may be behind ours. */
const BACKDATED_MS = 3_600_000;
const COMMON_NAME = "2.5.4.3";
const ECDSA_WITH_SHA256 = "1.2.840.10045.4.3.2";

export const newKey = (): string =>
  generateKeyPairSync("ec", { namedCurve: "prime256v1" })
    .privateKey.export({ type: "pkcs8", format: "pem" })
    .toString();

/**
 * A self-signed authority with this name and key. Made again with the same key and name it is a successor: whoever
 * trusts one trusts what the other signs.
 */
export const authorityCertificate = (
  key: string,
  commonName: string,
  days: number,
  nowMs: number,
): string =>
  certificate({
    publicKey: createPublicKey(key),
    signer: createPrivateKey(key),
    subject: commonName,
    issuer: commonName,
    days,
    nowMs,
    extensions: [
      extension(
        id_ce_basicConstraints,
        new BasicConstraints({ cA: true, pathLenConstraint: 0 }),
        true,
      ),
      extension(id_ce_keyUsage, new KeyUsage(KeyUsageFlags.keyCertSign), true),
    ],
  });

/** A server's certificate for these DNS names and IP addresses, signed by the authority. */
export const serverIdentity = (
  authority: { readonly key: string; readonly commonName: string },
  hosts: readonly string[],
  days: number,
  nowMs: number,
): Identity => {
  const key = newKey();
  const names = hosts.map((host) =>
    isIP(host) === 0 ? new GeneralName({ dNSName: host }) : new GeneralName({ iPAddress: host }),
  );
  return {
    key,
    certificate: certificate({
      publicKey: createPublicKey(key),
      signer: createPrivateKey(authority.key),
      subject: (hosts[0] ?? "").slice(0, 64),
      issuer: authority.commonName,
      days,
      nowMs,
      extensions: [
        extension(id_ce_basicConstraints, new BasicConstraints({ cA: false }), true),
        extension(id_ce_keyUsage, new KeyUsage(KeyUsageFlags.digitalSignature), true),
        extension(id_ce_extKeyUsage, new ExtendedKeyUsage([id_kp_serverAuth])),
        extension(id_ce_subjectAltName, new SubjectAlternativeName(names)),
      ],
    }),
  };
};

interface Content {
  readonly publicKey: KeyObject;
  readonly signer: KeyObject;
  readonly subject: string;
  readonly issuer: string;
  readonly days: number;
  readonly nowMs: number;
  readonly extensions: readonly Extension[];
}

const certificate = (content: Content): string => {
  const { publicKey, signer, nowMs, days } = content;
  const signature = new AlgorithmIdentifier({ algorithm: ECDSA_WITH_SHA256 });
  const tbsCertificate = new TBSCertificate({
    version: Version.v3,
    serialNumber: serialNumber(),
    signature,
    issuer: nameOf(content.issuer),
    subject: nameOf(content.subject),
    validity: new Validity({
      notBefore: new Date(nowMs - BACKDATED_MS),
      notAfter: new Date(nowMs + days * DAY_MS),
    }),
    subjectPublicKeyInfo: AsnConvert.parse(spki(publicKey), SubjectPublicKeyInfo),
    extensions: new Extensions([
      ...content.extensions,
      extension(id_ce_subjectKeyIdentifier, new SubjectKeyIdentifier(keyIdentifier(publicKey))),
      extension(
        id_ce_authorityKeyIdentifier,
        new AuthorityKeyIdentifier({
          keyIdentifier: new KeyIdentifier(keyIdentifier(createPublicKey(signer))),
        }),
      ),
    ]),
  });
  const signatureValue = sign("sha256", Buffer.from(AsnConvert.serialize(tbsCertificate)), signer);
  return pem(
    new Certificate({
      tbsCertificate,
      signatureAlgorithm: signature,
      signatureValue: bufferOf(signatureValue),
    }),
  );
};

const extension = (id: string, value: unknown, critical = false): Extension =>
  new Extension({
    extnID: id,
    critical,
    extnValue: new OctetString(AsnConvert.serialize(value)),
  });

const nameOf = (commonName: string): Name =>
  new Name([
    new RelativeDistinguishedName([
      new AttributeTypeAndValue({
        type: COMMON_NAME,
        value: new AttributeValue({ utf8String: commonName }),
      }),
    ]),
  ]);

/** 16 random bytes, positive and without a zero in front. */
const serialNumber = (): ArrayBuffer => {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bufferOf(bytes);
};

const spki = (key: KeyObject): Buffer => key.export({ type: "spki", format: "der" });

/** A hash of the key (RFC 7093, method 1, over the whole key information). */
const keyIdentifier = (key: KeyObject): ArrayBuffer =>
  bufferOf(createHash("sha256").update(spki(key)).digest().subarray(0, 20));

const bufferOf = (bytes: Uint8Array): ArrayBuffer => {
  const copy = new ArrayBuffer(bytes.byteLength);
  new Uint8Array(copy).set(bytes);
  return copy;
};

const pem = (of: Certificate): string => {
  const base64 = Buffer.from(AsnConvert.serialize(of)).toString("base64");
  return `-----BEGIN CERTIFICATE-----\n${base64.replace(/.{64}(?=.)/g, "$&\n")}\n-----END CERTIFICATE-----\n`;
};
