/** A section for {@link buildPe}. */
export interface TestSection {
  name: string;
  data: Uint8Array;
  /** Default: the data's size. */
  virtualSize?: number;
}

export interface TestPe {
  machine?: number;
  /** Appended as an attribute certificate table. */
  certificates?: Uint8Array;
}

const fileAlignment = 512;
const sectionAlignment = 4096;
const headerOffset = 0x80;
const optionalSize = 112 + 16 * 8;

/** Writes a PE32+ UEFI application by the letter of the format's description. */
export function buildPe(sections: readonly TestSection[], options: TestPe = {}): Uint8Array {
  const headersSize = align(headerOffset + 24 + optionalSize + sections.length * 40, fileAlignment);
  const headers = Buffer.alloc(headersSize);
  headers.write("MZ", 0, "latin1");
  headers.writeUInt32LE(headerOffset, 0x3c);
  headers.write("PE\0\0", headerOffset, "latin1");
  const coff = headerOffset + 4;
  headers.writeUInt16LE(options.machine ?? 0x8664, coff);
  headers.writeUInt16LE(sections.length, coff + 2);
  headers.writeUInt16LE(optionalSize, coff + 16);
  headers.writeUInt16LE(0x22e, coff + 18);
  const optional = coff + 20;
  headers.writeUInt16LE(0x20b, optional);
  headers.writeUInt32LE(sectionAlignment, optional + 16);
  headers.writeBigUInt64LE(0x140000000n, optional + 24);
  headers.writeUInt32LE(sectionAlignment, optional + 32);
  headers.writeUInt32LE(fileAlignment, optional + 36);
  headers.writeUInt32LE(headersSize, optional + 60);
  headers.writeUInt16LE(10, optional + 68);
  headers.writeUInt32LE(16, optional + 108);

  const bodies: Uint8Array[] = [];
  let fileOffset = headersSize;
  let address = align(headersSize, sectionAlignment);
  for (const [index, { name, data, virtualSize = data.length }] of sections.entries()) {
    const at = optional + optionalSize + index * 40;
    const fileSize = align(data.length, fileAlignment);
    headers.write(name, at, 8, "latin1");
    headers.writeUInt32LE(virtualSize, at + 8);
    headers.writeUInt32LE(address, at + 12);
    headers.writeUInt32LE(fileSize, at + 16);
    headers.writeUInt32LE(fileSize === 0 ? 0 : fileOffset, at + 20);
    headers.writeUInt32LE(0x40000040, at + 36);
    bodies.push(data, new Uint8Array(fileSize - data.length));
    fileOffset += fileSize;
    address += align(Math.max(virtualSize, 1), sectionAlignment);
  }
  headers.writeUInt32LE(address, optional + 56);
  if (options.certificates) {
    headers.writeUInt32LE(fileOffset, optional + 112 + 4 * 8);
    headers.writeUInt32LE(options.certificates.length, optional + 112 + 4 * 8 + 4);
    bodies.push(options.certificates);
  }
  return new Uint8Array(Buffer.concat([headers, ...bodies]));
}

/** Sections by name, texts as UTF-8, behind a piece of code as a boot stub has it. */
export function buildUki(
  sections: readonly (readonly [name: string, data: string | Uint8Array])[],
  options: TestPe = {},
): Uint8Array {
  const code = Uint8Array.from([0x31, 0xc0, 0xc3]);
  return buildPe(
    [
      { name: ".text", data: code },
      ...sections.map(([name, data]) => ({
        name,
        data: typeof data === "string" ? Buffer.from(data) : data,
      })),
    ],
    options,
  );
}

function align(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}
