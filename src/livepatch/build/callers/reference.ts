/** Something in the target that leads to a function. */
export interface TargetReference {
  /** The function that it leads to. */
  to: bigint;
  /** A direct call or jump, or the address kept or passed on: then nobody knows all who call. */
  how: "call" | "address";
  /** The symbol around it; `location` as in TargetSymbol. Undefined outside any. */
  from: { name: string; location: bigint } | undefined;
  section: string;
  /** In code that runs only while the kernel boots, or its module is loaded or removed. */
  isInit: boolean;
}

/** For messages: "device_del", "__SCK__foo (.data)". */
export function holderName({ from, section }: TargetReference): string {
  if (!from) return section;
  return section.startsWith(".text") ? from.name : `${from.name} (${section})`;
}
