import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseSymvers } from "../../../src/formats/symvers.ts";

describe("parseSymvers", () => {
  test("reads exports with and without a namespace", () => {
    const entries = parseSymvers(
      "0xf7370f56\tsystem_state\tvmlinux\tEXPORT_SYMBOL\t\n0x0000abcd\tdma_buf_get\tdrivers/dma-buf/x\tEXPORT_SYMBOL_GPL\tDMA_BUF\n",
    );
    expect([...entries]).toEqual([
      ["system_state", { crc: 0xf7370f56, module: "vmlinux", exportType: "EXPORT_SYMBOL", namespace: "" }],
      [
        "dma_buf_get",
        { crc: 0xabcd, module: "drivers/dma-buf/x", exportType: "EXPORT_SYMBOL_GPL", namespace: "DMA_BUF" },
      ],
    ]);
  });

  test("names the line that is wrong", () => {
    expect(() => parseSymvers("0x1\ta\tvmlinux\tEXPORT_SYMBOL\t\nnonsense\n", "file")).toThrow(
      /file .*line 2/,
    );
  });

  test("reads what it is given", () => {
    const word = fc.stringMatching(/^[A-Za-z_][\w/-]{0,30}$/);
    fc.assert(
      fc.property(
        fc.uniqueArray(
          fc.tuple(
            word,
            fc.nat(0xffffffff),
            word,
            fc.constantFrom("EXPORT_SYMBOL", "EXPORT_SYMBOL_GPL"),
            fc.option(word, { nil: "" }),
          ),
          { selector: ([name]) => name },
        ),
        (rows) => {
          const text = rows
            .map(
              ([name, crc, module, type, namespace]) =>
                `0x${crc.toString(16).padStart(8, "0")}\t${name}\t${module}\t${type}\t${namespace}\n`,
            )
            .join("");
          expect([...parseSymvers(text)]).toEqual(
            rows.map(([name, crc, module, exportType, namespace]) => [
              name,
              { crc, module, exportType, namespace },
            ]),
          );
        },
      ),
    );
  });
});
