/** Builds kallsyms tables as scripts/kallsyms.c lays them out, for images that tests make up. */
export interface TestSymbol {
  name: string;
  type: string;
  address: bigint;
}

export interface KallsymsShape {
  /** Where the tables stand: "6.1" and before, "6.2" with seqs_of_names in the middle, "6.4" and later. */
  layout: "6.1" | "6.2" | "6.4";
  meaning: "absolute-percpu" | "relative" | "from-place";
}

/**
 * @param symbols ascending by address, as the kernel's build sorts them
 * @param at the address that the returned bytes are linked to, a multiple of 8
 */
export function buildKallsyms(symbols: readonly TestSymbol[], shape: KallsymsShape, at: bigint): Buffer {
  // Tokens: every byte stands for itself, except some that stand for longer strings.
  const tokens = Array.from({ length: 256 }, (_, code) => (code === 0 ? "" : String.fromCharCode(code)));
  const words = ["tcp_", "__pfx_", "sys_", "_init", "ab", "T__", "t"];
  words.forEach((word, index) => {
    tokens[200 + index] = word;
  });
  const encode = (text: string) => {
    const codes: number[] = [];
    for (let i = 0; i < text.length; ) {
      const word = words.findIndex((candidate) => text.startsWith(candidate, i));
      if (word >= 0) {
        codes.push(200 + word);
        i += words[word]!.length;
      } else codes.push(text.charCodeAt(i++));
    }
    return codes;
  };

  const names: number[] = [];
  const markers: number[] = [];
  symbols.forEach(({ name, type }, index) => {
    if (index % 256 === 0) markers.push(names.length);
    const codes = encode(type + name);
    if (codes.length > 127) names.push((codes.length & 0x7f) | 0x80, codes.length >> 7);
    else names.push(codes.length);
    names.push(...codes);
  });
  let tokenOffset = 0;
  const tokenIndex = tokens.map((token) => {
    const offset = tokenOffset;
    tokenOffset += token.length + 1;
    return offset;
  });
  const base = symbols.find(({ address }) => address >= 0xffffffff80000000n)?.address ?? 0xffffffff81000000n;

  const parts: Buffer[] = [];
  let length = 0;
  const add = (bytes: Buffer) => {
    parts.push(bytes, Buffer.alloc(-bytes.length & 7));
    length = parts.reduce((sum, part) => sum + part.length, 0);
  };
  const u32 = (values: readonly number[]) => Buffer.from(Uint32Array.from(values).buffer);
  const head = () => {
    add(u32([symbols.length]));
    add(Buffer.from(names));
    add(u32(markers));
  };
  const tail = () => {
    add(Buffer.from(tokens.map((token) => `${token}\0`).join(""), "latin1"));
    add(Buffer.from(Uint16Array.from(tokenIndex).buffer));
  };
  const offsets = () => {
    const place = at + BigInt(length);
    const values = symbols.map(({ address }, index) => {
      if (shape.meaning === "relative") return Number(address - base);
      if (shape.meaning === "from-place")
        return Number(BigInt.asIntN(32, address - place - BigInt(index * 4)));
      return address < 0xffffffff80000000n ? Number(address) : Number(base - address - 1n);
    });
    add(u32(values));
    if (shape.meaning === "from-place") return;
    const quad = Buffer.alloc(8);
    quad.writeBigUInt64LE(base);
    add(quad);
  };
  const sequence = () => add(Buffer.from(symbols.flatMap((_, index) => [index >> 16, index >> 8, index])));

  if (shape.layout === "6.4") {
    head();
    tail();
    offsets();
    sequence();
  } else {
    offsets();
    head();
    if (shape.layout === "6.2") sequence();
    tail();
  }
  return Buffer.concat(parts);
}

/** A few hundred symbols with the oddities of real ones: aliases, per-CPU offsets, long names. */
export function sampleSymbols(count: number, withPercpu: boolean): TestSymbol[] {
  const symbols: TestSymbol[] = [];
  if (withPercpu)
    symbols.push(
      { name: "fixed_percpu_data", type: "A", address: 0n },
      { name: "__per_cpu_start", type: "A", address: 0n },
      { name: "cpu_tss_rw", type: "D", address: 0x6000n },
    );
  for (let index = 0; symbols.length < count; index++) {
    const address = 0xffffffff81000000n + BigInt(Math.trunc(index / 3) * 48);
    symbols.push({
      name:
        index % 50 === 0
          ? `_ZN${"x".repeat(150)}${index}`
          : `${index % 2 ? "tcp_" : "__pfx_"}symbol.${index}`,
      type: "TtDdRrWw"[index % 8]!,
      address,
    });
  }
  return symbols;
}
