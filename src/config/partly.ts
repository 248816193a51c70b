import { z } from 'zod'
import type { KeyPath } from './faults.js'
import { oneOf } from './values.js'

/**
 * A file with faults is read as far as it goes: each value that is not well formed is `wrong`, and all that stands
 * beside it is what it is. So one fault hides no other, and the compiler sees to it that no rule takes what is wrong
 * for what is right.
 */
export const wrong: unique symbol = Symbol('wrong')
export type Wrong = typeof wrong

/** What a schema reads of a value that may have faults: mappings have all their keys, lists all their items. */
export type Partly<Schema> =
  Schema extends z.ZodOptional<infer Inner>
    ? Partly<Inner> | undefined | Wrong
    : Schema extends z.ZodDefault<infer Inner> | z.ZodPrefault<infer Inner>
      ? Partly<Inner>
      : Schema extends z.ZodObject<infer Shape>
        ? { readonly [Key in keyof Shape]: Partly<Shape[Key]> }
        : Schema extends z.ZodArray<infer Item>
          ? readonly Partly<Item>[] | Wrong
          : z.output<Schema> | Wrong

/** Where faults go: of the value at a path, or of a key whose value must not be shown. */
export interface FaultSink {
  value(at: KeyPath, expected: string): void
  key(at: KeyPath, expected: string): void
}

/** Reads a document by its schema, and says every fault in it. */
export function readPartly<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  faults: FaultSink,
): Partly<Schema> {
  // The compiler cannot follow a schema at run time into what it reads: `Partly` is what `read` does, in types.
  return read(schema, [], value, faults) as Partly<Schema>
}

function read(schema: z.ZodType, at: KeyPath, value: unknown, faults: FaultSink): unknown {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const inner = withoutDefault(schema)
  const own = result.error.issues.filter((issue) => issue.path.length === 0)
  if (inner instanceof z.ZodObject && isMapping(value)) {
    return readMembers(shapeOf(inner), at, value, faults)
  }
  const items =
    inner instanceof z.ZodArray && Array.isArray(value)
      ? value.map((item, index) => read(inner.element as z.ZodType, [...at, index], item, faults))
      : undefined
  for (const issue of own) faults.value(at, issue.message)
  return own.length === 0 ? items : allWrong(schema)
}

/**
 * An unknown key is most likely one of those that are missing, in another spelling: what is not there is then not
 * known to be left out.
 */
function readMembers(
  shape: Readonly<Record<string, z.ZodType>>,
  at: KeyPath,
  value: Readonly<Record<string, unknown>>,
  faults: FaultSink,
): unknown {
  const unknown = Object.keys(value).filter((key) => !Object.hasOwn(shape, key))
  const members = Object.entries(shape).map(([key, member]) => {
    const found = read(member, [...at, key], value[key], faults)
    return [key, unknown.length > 0 && !(key in value) ? allWrong(member) : found]
  })
  for (const key of unknown) {
    faults.key([...at, key], `${oneOf(Object.keys(shape))} (the key is unknown)`)
  }
  return Object.fromEntries(members)
}

/** A mapping that is none: each of its keys is wrong; of one that may be left out not even that it is there is known. */
function allWrong(schema: z.ZodType): unknown {
  const inner = withoutDefault(schema)
  if (schema instanceof z.ZodOptional || !(inner instanceof z.ZodObject)) return wrong
  return Object.fromEntries(
    Object.entries(shapeOf(inner)).map(([key, member]) => [key, allWrong(member)]),
  )
}

/** The schema of a value that is there. */
function withoutDefault(schema: z.ZodType): z.ZodType {
  const wrapped =
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault
  return wrapped ? withoutDefault(schema.unwrap() as z.ZodType) : schema
}

function shapeOf(schema: z.ZodObject): Readonly<Record<string, z.ZodType>> {
  return schema.shape
}

export function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

type Sound<Values> = { readonly [Index in keyof Values]: Exclude<Values[Index], Wrong> }

/** Applies a rule to the values that it needs, unless one of them is wrong. */
export function given<const Values extends readonly unknown[]>(
  values: Values,
  rule: (...values: Sound<Values>) => void,
): void {
  if (!values.includes(wrong)) rule(...(values as Sound<Values>))
}

/** The items of a list that are not wrong, each with its place in the list. */
export function soundItems<Item>(
  list: readonly Item[] | Wrong,
): readonly { readonly index: number; readonly item: Exclude<Item, Wrong> }[] {
  if (list === wrong) return []
  return list.flatMap((item, index) =>
    item === wrong ? [] : [{ index, item: item as Exclude<Item, Wrong> }],
  )
}
