// A cluster's certificate authority and the certificates it signs. Keys are made here; openssl only signs.
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { command } from "./command.ts";

/** Paths of a certificate and its private key. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

export interface Subject {
  readonly user: string;
  readonly groups?: readonly string[];
}

const validDays = "3650";

/** The authority of a cluster, made on first use. */
export async function authority(folder: string): Promise<Certificate> {
  const ca = files(folder, "ca");
  if (existsSync(ca.cert)) return ca;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(ca.key, newKey(), { mode: 0o600 });
  await command("openssl", [
    ...[
      "req",
      "-x509",
      "-new",
      "-key",
      ca.key,
      "-days",
      validDays,
      "-subj",
      "/CN=deeptrain-cluster",
      "-out",
      ca.cert,
    ],
    ...["-addext", "keyUsage=critical,digitalSignature,keyCertSign"],
  ]);
  return ca;
}

/** A certificate by which a client proves to be a user in groups; signed on first use of `name`. */
export function clientCertificate(
  folder: string,
  name: string,
  subject: Subject,
): Promise<Certificate> {
  return signed(folder, name, subject, ["extendedKeyUsage=clientAuth"]);
}

/** A certificate for a server at these names and addresses; signed on first use of `name`. */
export function servingCertificate(
  folder: string,
  name: string,
  hosts: readonly string[],
  subject: Subject,
): Promise<Certificate> {
  const names = hosts.map((host) => (/^[0-9.]+$/.test(host) ? `IP:${host}` : `DNS:${host}`));
  return signed(folder, name, subject, [
    "extendedKeyUsage=serverAuth",
    `subjectAltName=${names.join(",")}`,
  ]);
}

/** A key pair for signing service account tokens: the private key in `key`, the public one in `cert`. */
export async function signingKey(folder: string, name: string): Promise<Certificate> {
  const { cert, key } = files(folder, name);
  if (existsSync(cert)) return { cert, key };
  const pair = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  await writeFile(key, pair.privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
  await writeFile(cert, pair.publicKey.export({ type: "spki", format: "pem" }));
  return { cert, key };
}

async function signed(
  folder: string,
  name: string,
  subject: Subject,
  extensions: readonly string[],
): Promise<Certificate> {
  const ca = await authority(folder);
  const { cert, key } = files(folder, name);
  if (existsSync(cert)) return { cert, key };
  const [request, config] = [`${cert}.csr`, `${cert}.ext`];
  await writeFile(key, newKey(), { mode: 0o600 });
  await writeFile(
    config,
    ["basicConstraints=CA:FALSE", "keyUsage=critical,digitalSignature", ...extensions].join("\n"),
  );
  await command("openssl", [
    "req",
    "-new",
    "-key",
    key,
    "-subj",
    distinguishedName(subject),
    "-out",
    request,
  ]);
  await command("openssl", [
    ...[
      "x509",
      "-req",
      "-in",
      request,
      "-CA",
      ca.cert,
      "-CAkey",
      ca.key,
      "-set_serial",
      `0x${randomBytes(15).toString("hex")}`,
    ],
    ...["-days", validDays, "-extfile", config, "-out", `${cert}.new`],
  ]);
  await rename(`${cert}.new`, cert);
  await Promise.all([request, config].map((file) => rm(file)));
  return { cert, key };
}

function newKey(): string {
  return generateKeyPairSync("ec", { namedCurve: "prime256v1" })
    .privateKey.export({ type: "pkcs8", format: "pem" })
    .toString();
}

function distinguishedName({ user, groups = [] }: Subject): string {
  const escaped = (value: string) => value.replace(/[\\/+=]/g, "\\$&");
  return [...groups.map((group) => `/O=${escaped(group)}`), `/CN=${escaped(user)}`].join("");
}

function files(folder: string, name: string): Certificate {
  return { cert: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) };
}
