/** Names that the compiler or the kernel's macros make, with the parts that change from one compilation to the next. */

/**
 * Name without the numbers of the compiler and of `__COUNTER__`: `count.12` -> `count.#`, `f.constprop.1.cold` ->
 * `f.constprop.#.cold`, `__UNIQUE_ID_ddebug842.5` -> `__UNIQUE_ID_ddebug#`, and likewise `__initcall__kmod_<module>__
 * <counter>_<line>_<function><level>` (include/linux/init.h) and `__BTF_ID__<kind>__<name>__<counter>`.
 */
export function nameWithoutNumbers(name: string): string {
  // Most names have none: this runs for every piece of every object.
  if (!/\d/.test(name)) return name;
  return name
    .replace(/(__UNIQUE_ID_.*?)_?\d+(?:\.\d+)*$/, "$1#")
    .replace(/^(__initcall__kmod_.*?)__\d+_\d+_/, "$1__#_")
    .replace(/^(__BTF_ID__.*?)__\d+$/, "$1__#")
    .replace(/\.\d+(?=\.|$)/g, ".#");
}

/** True when the compiler numbers the name, so that the same name may mean another thing in the patched object. */
export function isNumbered(name: string): boolean {
  return nameWithoutNumbers(name) !== name;
}

/** What the source calls a variable: `count` for gcc's `count.12` and for clang's `f.count` and `f.count.3`. */
export function variableName(name: string): string {
  const plain = nameWithoutNumbers(name).replaceAll(".#", "");
  return plain.slice(plain.lastIndexOf(".") + 1) || plain;
}

/** The function of the source: `f` for `f.isra.0.cold`, `f.part.1`, `f.constprop.0`, `f.lto_priv.2`, `f.llvm.123`. */
export function functionName(name: string): string {
  return name.replace(/\.(?:isra|constprop|part|cold|lto_priv|llvm|__uniq|localalias)(?:\.|$).*$/, "");
}

/** The compiler's constant with the name of a function: where it is a message's, only the message changes with it. */
export function isFunctionNameConstant(name: string): boolean {
  return /^__(?:func|FUNCTION|PRETTY_FUNCTION)__$/.test(variableName(name));
}

const bookkeepingNames =
  "__already_done|__warned|__print_once|__key|_rs|descriptor|__UNIQUE_ID_ddebug_?|___done|_entry|_entry_ptr|___once_key|_alloc_tag|______[fr]";
/** gcc: `__key.12`; clang: `f.__key`, `f.__key.12`. */
const bookkeeping = new RegExp(String.raw`^(?:.+\.)?(?:${bookkeepingNames})\d*(?:[.#]|$)`);

/**
 * Static data of the kernel's once-only, lock-class and debugging macros: a changed or new one is simply another one.
 */
export function isBookkeeping(name: string): boolean {
  return bookkeeping.test(name);
}
