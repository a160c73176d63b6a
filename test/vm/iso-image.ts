/** A disc with two sessions, of which the second has a Rock Ridge name in a continuation area (IEEE P1282, ECMA-119). */

const sectorSize = 2048;
/** Where the second session starts, in sectors: behind more of them than it has itself. */
export const sessionStart = 64;
export const longName = "a-name-that-stands-in-the-continuation-area";

export function twoSessionImage(): Buffer {
  const [descriptor, terminator, root, continuation, file] = [16, 17, 18, 19, 20].map(
    (n) => sessionStart + n,
  );
  const sectors = 21;
  const image = Buffer.alloc((sessionStart + sectors) * sectorSize);
  const write = (sector: number, ...parts: Buffer[]) => Buffer.concat(parts).copy(image, sector * sectorSize);

  const rootRecord = directoryRecord(root!, sectorSize, true, Buffer.from([0]));
  const volume = Buffer.alloc(sectorSize);
  volume.write("\x01CD001\x01", "latin1");
  volume.fill(" ", 8, 72);
  both32(sectors).copy(volume, 80);
  both16(1).copy(volume, 120);
  both16(1).copy(volume, 124);
  both16(sectorSize).copy(volume, 128);
  rootRecord.copy(volume, 156);
  volume[881] = 1;
  write(descriptor!, volume);
  write(terminator!, Buffer.from("\xffCD001\x01", "latin1"));

  const name = Buffer.concat([
    Buffer.from(`NM${String.fromCharCode(5 + longName.length)}\x01\x00${longName}`, "latin1"),
  ]);
  const toContinuation = Buffer.concat([
    Buffer.from("CE\x1c\x01", "latin1"),
    both32(continuation!),
    both32(0),
    both32(name.length),
  ]);
  write(
    root!,
    directoryRecord(
      root!,
      sectorSize,
      true,
      Buffer.from([0]),
      Buffer.from("SP\x07\x01\xbe\xef\x00", "latin1"),
    ),
    directoryRecord(root!, sectorSize, true, Buffer.from([1])),
    directoryRecord(file!, 5, false, Buffer.from("A.;1"), toContinuation),
  );
  write(continuation!, name);
  write(file!, Buffer.from("text\n"));
  return image;
}

/** ECMA-119, 9.1 */
function directoryRecord(
  extent: number,
  size: number,
  isFolder: boolean,
  name: Buffer,
  systemUse = Buffer.alloc(0),
): Buffer {
  const fixed = Buffer.alloc(33);
  both32(extent).copy(fixed, 2);
  both32(size).copy(fixed, 10);
  fixed[18] = 100;
  fixed[19] = 1;
  fixed[20] = 1;
  fixed[25] = isFolder ? 2 : 0;
  both16(1).copy(fixed, 28);
  fixed[32] = name.length;
  const padding = Buffer.alloc((name.length + 1) % 2);
  const record = Buffer.concat([fixed, name, padding, systemUse]);
  const whole = Buffer.concat([record, Buffer.alloc(record.length % 2)]);
  whole[0] = whole.length;
  return whole;
}

/** Numbers stand there in both byte orders. */
function both32(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(value, 0);
  bytes.writeUInt32BE(value, 4);
  return bytes;
}

function both16(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt16LE(value, 0);
  bytes.writeUInt16BE(value, 2);
  return bytes;
}
