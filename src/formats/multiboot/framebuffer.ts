/** The screen as both versions of Multiboot tell it, out of what Linux knows of it. */

/** MULTIBOOT_FRAMEBUFFER_TYPE_…: pixels of three colours, or letters. */
export const framebufferTypes = { rgb: 1, egaText: 2 } as const;

export interface MultibootFramebuffer {
  address: bigint;
  /** Bytes from one line to the next. */
  pitch: number;
  /** In pixels, or in letters. */
  width: number;
  height: number;
  bitsPerPixel: number;
  type: number;
  /** Of a pixel: position and size in bits of red, green and blue. Empty for text. */
  colours: readonly number[];
}

/** orig_video_isVGA of struct screen_info (include/uapi/linux/screen_info.h). */
const videoTypes = { vga: 1, vesa: 0x23, efi: 0x70 } as const;
/** VIDEO_CAPABILITY_64BIT_BASE: ext_lfb_base holds the upper half of the address. */
const has64BitBase = 2;
const monochromeText = 7;

/**
 * @param screenInfo struct screen_info, 64 bytes
 * @returns undefined for a screen that Multiboot has no words for
 */
export function framebufferOf(screenInfo: Uint8Array): MultibootFramebuffer | undefined {
  if (screenInfo.length < 64) return undefined;
  const view = new DataView(screenInfo.buffer, screenInfo.byteOffset, screenInfo.byteLength);
  const type = view.getUint8(0x0f);
  if (type === videoTypes.vga) {
    const columns = view.getUint8(0x07);
    if (columns === 0) return undefined;
    return {
      address: view.getUint8(0x06) === monochromeText ? 0xb0000n : 0xb8000n,
      pitch: columns * 2,
      width: columns,
      height: view.getUint8(0x0e),
      bitsPerPixel: 16,
      type: framebufferTypes.egaText,
      colours: [],
    };
  }
  if (type !== videoTypes.vesa && type !== videoTypes.efi) return undefined;
  const upper = (view.getUint32(0x36, true) & has64BitBase) === 0 ? 0 : view.getUint32(0x3a, true);
  const colour = (at: number) => [view.getUint8(at + 1), view.getUint8(at)];
  return {
    address: (BigInt(upper) << 32n) | BigInt(view.getUint32(0x18, true)),
    pitch: view.getUint16(0x24, true),
    width: view.getUint16(0x12, true),
    height: view.getUint16(0x14, true),
    bitsPerPixel: view.getUint16(0x16, true),
    type: framebufferTypes.rgb,
    colours: [0x26, 0x28, 0x2a].flatMap(colour),
  };
}

const commonBytes = 22;

/** framebuffer_addr up to color_info: the same in both versions, but for what lies between type and colours. */
export function framebufferBytes(framebuffer: MultibootFramebuffer, gapBytes: number): Uint8Array {
  const { colours } = framebuffer;
  const bytes = Buffer.alloc(commonBytes + (colours.length === 0 ? 0 : gapBytes + colours.length));
  bytes.writeBigUInt64LE(framebuffer.address, 0);
  bytes.writeUInt32LE(framebuffer.pitch, 8);
  bytes.writeUInt32LE(framebuffer.width, 12);
  bytes.writeUInt32LE(framebuffer.height, 16);
  bytes.writeUInt8(framebuffer.bitsPerPixel & 0xff, 20);
  bytes.writeUInt8(framebuffer.type, 21);
  bytes.set(colours, bytes.length - colours.length);
  return bytes;
}

/** Reads {@link framebufferBytes} back; what is missing of `bytes` counts as zero. */
export function readFramebuffer(bytes: Uint8Array, gapBytes: number): MultibootFramebuffer {
  const whole = Buffer.alloc(commonBytes + gapBytes + 6);
  whole.set(bytes.subarray(0, whole.length));
  const type = whole.readUInt8(21);
  return {
    address: whole.readBigUInt64LE(0),
    pitch: whole.readUInt32LE(8),
    width: whole.readUInt32LE(12),
    height: whole.readUInt32LE(16),
    bitsPerPixel: whole.readUInt8(20),
    type,
    colours: type === framebufferTypes.rgb ? [...whole.subarray(commonBytes + gapBytes)] : [],
  };
}
