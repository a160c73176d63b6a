/** Deterministic bytes like machine code: prologues, calls and jumps near each other, some noise. */
export function sampleCode(size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let seed = 1;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  const prologue = [0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0x48, 0x89, 0xe5];
  const view = new DataView(bytes.buffer);
  let at = 0;
  while (at + 16 < size) {
    const choice = random(8);
    if (choice < 3) {
      // A call to one of a few places, as compilers emit them.
      bytes[at] = choice === 2 ? 0xe9 : 0xe8;
      view.setInt32(at + 1, random(16) * 4096 - at - 5, true);
      at += 5;
    } else if (choice === 3) {
      // Opcode bytes where there is no instruction, which the x86 filter has to tell apart.
      for (let i = random(6) + 1; i > 0; i--) bytes[at++] = 0xe8 + random(2);
      bytes[at++] = random(2) * 255;
    } else if (choice === 4) for (let i = 0; i < 4; i++) bytes[at++] = random(256);
    else {
      bytes.set(prologue, at);
      at += prologue.length;
    }
  }
  return bytes;
}
