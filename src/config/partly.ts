import { z } from 'zod'
import type { KeyPath } from './faults.js'
import { nearest } from './nearest.js'
import { oneOf } from './values.js'

/**
 * Stands in the place of a value that the schema refuses. What is beside that value is read all the same, so one
 * fault hides no other; and since `wrong` is in the type of every value, no rule compiles that forgets to ask.
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

/** A document, read by its schema. */
export interface Reading<Schema extends z.ZodType> {
  /** As far as it goes. */
  readonly content: Partly<Schema>
  /** The same, if there is nothing that the schema refuses; else undefined. */
  readonly sound: z.output<Schema> | undefined
}

/** Where faults go: of the value at a path, or of a key whose value must not be shown. */
export interface FaultSink {
  value(at: KeyPath, expected: string): void
  /** @param what is the matter with the key, as `unknown` */
  key(at: KeyPath, what: string, expected: string): void
}

/**
 * Reads a document by its schema, and says every fault in it. What is a fault is for the schema alone to say: a
 * document that it refuses has at least one, whether or not `partOf` knows the kind of schema that refused.
 */
export function readPartly<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  faults: FaultSink,
): Reading<Schema> {
  const sound = schema.safeParse(value).data
  for (const issue of issuesOf(schema, value)) sayFault(issue, schema, value, faults)
  // The compiler cannot follow a schema at run time into what it reads: `Partly` is what `partOf` does, in types.
  return { content: partOf(schema, value) as Partly<Schema>, sound }
}

/** The library does not look at the items of a list that is too long: what is wrong with them is asked for here. */
function issuesOf(schema: z.ZodType, value: unknown): readonly z.core.$ZodIssue[] {
  const issues = schema.safeParse(value).error?.issues ?? []
  return issues.flatMap((issue) => {
    if (issue.code !== 'too_big') return [issue]
    const list = issue.path.reduce(valueIn, value)
    if (!Array.isArray(list)) return [issue]
    const items = list.flatMap((item: unknown, index) => {
      const at = [...issue.path, index]
      const by = at.reduce(schemaIn, schema)
      if (by === undefined) return []
      return issuesOf(by, item).map((inner) => ({ ...inner, path: [...at, ...inner.path] }))
    })
    return [issue, ...items]
  })
}

function sayFault(
  issue: z.core.$ZodIssue,
  schema: z.ZodType,
  value: unknown,
  faults: FaultSink,
): void {
  const at = issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part))
  const refused = at.reduce(valueIn, value)
  const by = at.reduce(schemaIn, schema)
  if (issue.code === 'unrecognized_keys') {
    const inner = by && withoutDefault(by)
    const known = inner instanceof z.ZodObject ? Object.keys(inner.shape) : []
    for (const key of issue.keys) sayUnknown([...at, key], key, known, refused, faults)
  } else {
    const mayBeLeftOut = by !== undefined && by !== withoutDefault(by)
    const expected =
      refused === null && mayBeLeftOut ? `${issue.message}, or the key left out` : issue.message
    faults.value(at, expected)
  }
}

function sayUnknown(
  at: KeyPath,
  key: string,
  known: readonly string[],
  holder: unknown,
  faults: FaultSink,
): void {
  const free = known.filter((name) => valueIn(holder, name) === undefined)
  const meant = nearest(key, free)
  const what = meant === undefined ? 'unknown' : `unknown (did you mean ${meant}?)`
  faults.key(at, what, known.length === 0 ? 'no such key' : oneOf(known))
}

function valueIn(holder: unknown, part: PropertyKey): unknown {
  if (typeof holder !== 'object' || holder === null || !Object.hasOwn(holder, part))
    return undefined
  return (holder as Readonly<Record<PropertyKey, unknown>>)[part]
}

/** Undefined where the holder is neither a mapping nor a list. */
function schemaIn(holder: z.ZodType | undefined, part: PropertyKey): z.ZodType | undefined {
  const inner = holder && withoutDefault(holder)
  if (inner instanceof z.ZodObject) {
    const shape = shapeOf(inner)
    return Object.hasOwn(shape, part) ? shape[String(part)] : undefined
  }
  return inner instanceof z.ZodArray ? (inner.element as z.ZodType) : undefined
}

/** What can be used of a value. Goes into mappings and lists; anything else that is refused is wrong as a whole. */
function partOf(schema: z.ZodType, value: unknown): unknown {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const inner = withoutDefault(schema)
  if (inner instanceof z.ZodObject && isMapping(value)) return membersOf(shapeOf(inner), value)
  const refusedItself = result.error.issues.some((issue) => issue.path.length === 0)
  if (inner instanceof z.ZodArray && Array.isArray(value) && !refusedItself) {
    return value.map((item) => partOf(inner.element as z.ZodType, item))
  }
  return nothingOf(schema)
}

/** Beside an unknown key nothing counts as left out: the key may be one of the missing ones, in another spelling. */
function membersOf(
  shape: Readonly<Record<string, z.ZodType>>,
  value: Readonly<Record<string, unknown>>,
): unknown {
  const hasUnknown = Object.keys(value).some((key) => !Object.hasOwn(shape, key))
  return Object.fromEntries(
    Object.entries(shape).map(([key, member]) => [
      key,
      hasUnknown && !Object.hasOwn(value, key) ? nothingOf(member) : partOf(member, value[key]),
    ]),
  )
}

/**
 * What stands for a value of which nothing can be used. For a mapping this is one with `wrong` at each key, so that
 * rules can look at its keys; but for a mapping that may be left out it is `wrong` itself, since rules also ask
 * whether it is there.
 */
function nothingOf(schema: z.ZodType): unknown {
  const inner = withoutDefault(schema)
  if (schema instanceof z.ZodOptional || !(inner instanceof z.ZodObject)) return wrong
  return Object.fromEntries(
    Object.entries(shapeOf(inner)).map(([key, member]) => [key, nothingOf(member)]),
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
