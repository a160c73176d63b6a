import type { z } from "zod";

/** A type of the library as it looks after `--json`: addresses are `0x…` strings, maps objects, sets lists. */
export type Json<T> = T extends bigint
  ? string
  : T extends ReadonlyMap<infer _Key, infer Value>
    ? Record<string, Json<Value>>
    : T extends ReadonlySet<infer Element>
      ? Json<Element>[]
      : T extends readonly (infer Element)[]
        ? Json<Element>[]
        : T extends object
          ? { [K in keyof T as undefined extends T[K] ? never : K]: Json<T[K]> } & {
              [K in keyof T as undefined extends T[K] ? K : never]?:
                | Json<Exclude<T[K], undefined>>
                | undefined;
            }
          : T;

type Differs<A, B> = [A] extends [B]
  ? [B] extends [A]
    ? never
    : "the schema lacks something"
  : "the schema asks for something else";

/**
 * A schema that describes exactly what the library's type `T` looks like in JSON: where they differ, it does
 * not compile. (In two steps because TypeScript infers either all type arguments or none.)
 */
export function documentOf<T>(): <S extends z.ZodType>(
  schema: S & ([Differs<z.infer<S>, Json<T>>] extends [never] ? unknown : Differs<z.infer<S>, Json<T>>),
) => S {
  return (schema) => schema;
}
