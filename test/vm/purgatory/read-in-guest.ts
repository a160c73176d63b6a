/** Runs in a guest: prints what can be read of the loaded image. */
import { readLoadedImage } from "../../../src/host/loaded-image.ts";

const image = await readLoadedImage();
process.stdout.write(JSON.stringify(image, (_, value) => (typeof value === "bigint" ? `${value}` : value)));
