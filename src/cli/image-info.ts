import type { Command } from "commander";
import type { KernelImage } from "../kernel/image.ts";
import type { KernelModuleFile } from "../kernel/module.ts";
import { action, type CommandContext, examples } from "./context.ts";
import { printable } from "./printable.ts";

/** `rekernel image info`: what a kernel image tells about itself. */
export function registerImageInfo(parent: Command): void {
  const command = parent
    .command("info")
    .summary("show what a kernel image is: release, compiler, boot header, features")
    .description(
      "Show what a kernel image tells about itself: release and compiler, boot header, packing,\n" +
        "features, symbols. Works on vmlinuz, vmlinux, unified kernel images and module files; needs no\n" +
        "debug information.",
    )
    .argument(
      "<file>",
      "vmlinuz, vmlinux, a unified kernel image, or a module (.ko, .ko.xz, .ko.zst, .ko.gz)",
    )
    .action(
      action<object, [string]>(async (context, _options, path) => {
        const { openImageOrModule } = await import("../kernel/open.ts");
        const { KernelImage } = await import("../kernel/image.ts");
        const file = await openImageOrModule(path);
        if (file instanceof KernelImage) await showImage(context, path, file);
        else showModule(context, path, file);
      }),
    );
  examples(command, "rekernel image info /boot/vmlinuz-$(uname -r)", "rekernel image info vmlinux --json");
}

const featureNames = {
  livepatch: "live patching",
  kexec: "kexec_load",
  kexecFile: "kexec_file_load",
  crashDump: "crash dumps (/proc/vmcore)",
  modversions: "modversions",
  moduleSignatures: "module signatures",
  ftrace: "ftrace",
  kprobes: "kprobes",
  kaslr: "KASLR",
  ibt: "IBT (ENDBR)",
  btf: "BTF types",
  orc: "ORC unwinder",
  lockdown: "lockdown",
} as const;

async function showImage(context: CommandContext, path: string, image: KernelImage): Promise<void> {
  const { protocolText } = await import("../formats/bzimage.ts");
  const { ukiDetails, ukiRows } = await import("./uki-info.ts");
  const { fileSignatures } = await import("../kexec/signature/file-signatures.ts");
  const { signatureDetails, signatureRows } = await import("./image-signatures.ts");
  const signatures = await fileSignatures(path);
  const { bzImage, features } = image;
  const exports = [...image.exports.values()];
  const gplOnly = exports.filter((symbol) => symbol.gplOnly).length;
  const functions = image.symbols.filter(({ type }) => /[tw]/i.test(type)).length;
  const boot = bzImage && { ...bzImage.header, protocol: protocolText(bzImage.header.protocol) };
  context.result({
    path,
    kind: image.uki ? "uki" : bzImage ? "vmlinuz" : "vmlinux",
    release: image.release,
    version: image.version,
    banner: image.banner,
    compiler: image.compiler,
    linker: image.linker,
    buildId: image.buildId ?? null,
    fileSizeBytes: image.fileSize,
    vmlinuxSizeBytes: image.vmlinuxSize,
    compression: bzImage?.compression ?? "none",
    boot: boot ?? null,
    uki: image.uki ? ukiDetails(image.uki) : null,
    signatures: signatureDetails(signatures),
    features,
    symbols: { total: image.symbols.length, functions },
    exports: { total: exports.length, gplOnly },
  });

  const yes = (Object.keys(featureNames) as (keyof typeof featureNames)[]).filter((key) => features[key]);
  const no = (Object.keys(featureNames) as (keyof typeof featureNames)[]).filter((key) => !features[key]);
  const rows: [string, string][] = [
    ["version", image.version],
    ["compiler", image.linker === "" ? image.compiler : `${image.compiler}, ${image.linker}`],
    ["build id", image.buildId ?? "none"],
    [
      "size",
      bzImage
        ? `${mebibytes(image.fileSize)}, ${bzImage.compression === "none" ? "not packed" : `packed with ${bzImage.compression}`}; unpacked ${mebibytes(image.vmlinuxSize)}`
        : mebibytes(image.fileSize),
    ],
  ];
  if (bzImage) {
    const { header } = bzImage;
    const { xloadflags } = header;
    const loading = [
      header.relocatable ? "relocatable" : "not relocatable",
      ...(xloadflags.canBeLoadedAbove4G ? ["above 4 GiB"] : []),
      ...(xloadflags.efiHandover64 ? ["EFI hand-over"] : []),
      ...(xloadflags.efiKexec ? ["EFI kexec"] : []),
      ...(xloadflags.fiveLevel ? ["5-level paging"] : []),
    ];
    rows.push(
      ["boot protocol", `${protocolText(header.protocol)} (${loading.join(", ")})`],
      [
        "memory",
        `${mebibytes(header.initSize)} at 0x${header.prefAddress.toString(16)}, aligned to ${mebibytes(header.kernelAlignment)}`,
      ],
      ["command line", `up to ${header.cmdlineSize} bytes`],
    );
  }
  if (image.uki) rows.push(...ukiRows(image.uki));
  rows.push(...signatureRows(signatures));
  rows.push(
    ["has", yes.map((key) => featureNames[key]).join(", ") || "none of the features looked for"],
    ...(no.length > 0
      ? [["has not", no.map((key) => featureNames[key]).join(", ")] as [string, string]]
      : []),
    ["symbols", `${image.symbols.length}, of them ${functions} functions`],
    ["exports", `${exports.length}, of them ${gplOnly} for GPL modules only`],
  );
  printTable(context, `Linux ${image.release}`, rows);
}

function showModule(context: CommandContext, path: string, module: KernelModuleFile): void {
  context.result({
    path,
    kind: "module",
    name: module.name,
    vermagic: module.vermagic,
    buildId: module.buildId ?? null,
    dependencies: module.dependencies,
    livepatch: module.modinfo.has("livepatch"),
    modinfo: module.modinfo,
    exports: { total: module.exports.size },
    versions: { total: module.versions.size },
  });
  printTable(context, `Module ${module.name}`, [
    ["vermagic", module.vermagic.trim() || "none"],
    ["build id", module.buildId ?? "none"],
    ["needs", module.dependencies.join(", ") || "no other module"],
    ...(module.modinfo.has("livepatch") ? [["live patch", "yes"] as [string, string]] : []),
    ["description", module.modinfo.get("description")?.join(" ") ?? "none"],
    ["license", module.modinfo.get("license")?.join(", ") ?? "none"],
    ["imports", `${module.versions.size} symbols with CRC`],
    ["exports", `${module.exports.size} symbols`],
  ]);
}

function printTable(
  context: CommandContext,
  title: string,
  rows: readonly (readonly [string, string])[],
): void {
  const width = Math.max(...rows.map(([label]) => label.length)) + 2;
  context.print(
    [
      context.style("bold", title),
      ...rows.map(([label, value]) => `  ${context.style("dim", label.padEnd(width))}${printable(value)}`),
    ].join("\n"),
  );
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
