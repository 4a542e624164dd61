// The tar.gz archives of the demo and the tests, in memory. Equal entries give equal bytes: no time, owner or mode of this
// machine goes in. Names are taken as they are, so that a test can write what no well-behaved tool would.

import { gzipSync } from "node:zlib";

const BLOCK = 512;
const NAME_BYTES = 100;

/** A .tar.gz in ustar format (POSIX.1-1988), entries in the order given; a name that ends in a slash is a directory. */
export function tarGz(files: Readonly<Record<string, Buffer | string>>): Buffer {
  const blocks = Object.entries(files).flatMap(([name, content]) => {
    const bytes = Buffer.from(content);
    const padding = Buffer.alloc((BLOCK - (bytes.length % BLOCK)) % BLOCK);
    return [header(name, bytes.length), bytes, padding];
  });
  const archive = gzipSync(Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK)]));
  // RFC 1952: the operating system, here "unknown".
  archive[9] = 255;
  return archive;
}

function header(name: string, size: number): Buffer {
  if (Buffer.byteLength(name) > NAME_BYTES) {
    throw new Error(`${name}: a name in an archive has at most ${NAME_BYTES} bytes`);
  }
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, length: number) => value.toString(8).padStart(length - 1, "0");
  block.write(name, 0, NAME_BYTES);
  block.write(octal(0o644, 8), 100);
  block.write(octal(0, 8), 108);
  block.write(octal(0, 8), 116);
  block.write(octal(size, 12), 124);
  block.write(octal(0, 12), 136);
  block.write(" ".repeat(8), 148);
  block.write(name.endsWith("/") ? "5" : "0", 156);
  block.write("ustar\u000000", 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${octal(sum, 7)}\0 `, 148);
  return block;
}
