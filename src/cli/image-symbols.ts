import type { Command } from "commander";
import { RekernelError } from "../core/errors.ts";
import { action, examples } from "./context.ts";
import { printable } from "./printable.ts";

interface ListedSymbol {
  name: string;
  address: bigint;
  type: string;
}

/** `rekernel image symbols`: kallsyms of an image that is not running. */
export function registerImageSymbols(parent: Command): void {
  const command = parent
    .command("symbols")
    .summary("list the symbols of a kernel image, as /proc/kallsyms would")
    .description(
      "List the symbols of a kernel image in the form of /proc/kallsyms: address, type, name.\n" +
        "Addresses are those the kernel is linked to; booted with nokaslr it shows the same. Of a module file\n" +
        "they are offsets in its sections.",
    )
    .argument("<file>", "vmlinuz, vmlinux, or a module (.ko, .ko.xz, .ko.zst, .ko.gz)")
    .option("--match <pattern>", "only names that match: * stands for any characters, ? for one")
    .action(
      action<{ match?: string }, [string]>(async (context, options, path) => {
        const { openImageOrModule } = await import("../kernel/open.ts");
        const { KernelImage } = await import("../kernel/image.ts");
        const file = await openImageOrModule(path);
        const isImage = file instanceof KernelImage;
        const pattern = options.match === undefined ? undefined : globPattern(options.match);
        const symbols = pattern ? file.symbols.filter(({ name }) => pattern.test(name)) : file.symbols;
        if (symbols.length === 0 && options.match !== undefined)
          throw new RekernelError(
            "failed",
            "RK-NO-SYMBOL",
            `No symbol of ${path} matches ${options.match}.`,
            {
              hint: "A name matches as a whole: use * for the rest, as in 'tcp_*'.",
            },
          );
        const suffix = isImage ? "" : `\t[${file.name}]`;
        context.result({ symbols: symbols.map(({ address, type, name }) => ({ address, type, name })) });
        if (!context.json && symbols.length > 0) context.print(lines(symbols, suffix));
      }),
    );
  examples(
    command,
    "rekernel image symbols /boot/vmlinuz-$(uname -r) --match 'tcp_v4_*'",
    "rekernel image symbols vmlinuz --json",
  );
}

function lines(symbols: readonly ListedSymbol[], suffix: string): string {
  const text: string[] = [];
  for (const { address, type, name } of symbols)
    text.push(`${address.toString(16).padStart(16, "0")} ${type} ${printable(name)}${suffix}\n`);
  return text.join("");
}

function globPattern(glob: string): RegExp {
  const source = glob
    .replace(/\*+/g, "*")
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${source}$`, "s");
}
