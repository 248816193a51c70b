import { deny, safeName } from '../denial.js'
import type { Denial } from '../denial.js'
import type { Provenance } from '../segment.js'
import type { JsonNumber, JsonObject, JsonValue } from './json.js'
import { isArray, isObject, textOf } from './json-text.js'
import type { Reading } from './reading.js'

/** Far beyond any request, and so few that their names cross from a worker thread in a moment: 100,000 took 16 ms. */
const maxUnknownFields = 1000

/** Largest integer that every engine holds: 2^31 - 1. */
const maxInteger = 2_147_483_647

/** What a field may hold. `own`: the dialect reads it itself. `any`: all of it is made text of that provenance. */
export type FieldKind =
  | 'own'
  | 'boolean'
  | 'number'
  | 'integer'
  /** Integer from 1 to 2^31 - 1. */
  | 'count'
  /** A short lower-case word, as `auto`; made text, since `ignore_all_rules` is one as well. */
  | 'keyword'
  | 'integers'
  /** Object of numbers, named by token ids. */
  | 'biases'
  /** Base64 of what is no text: checked, never made text. */
  | 'opaque'
  | { readonly text: Provenance }
  /** One string or a list of them. */
  | { readonly texts: Provenance }
  | { readonly any: Provenance }
  /** An object with a closed list of its own. */
  | { readonly fields: FieldTable }

export interface FieldRule {
  readonly kind: FieldKind
  /** Null means the same as leaving it out. */
  readonly nullable?: boolean
  /** Only a grant admits it; the text is the reason, for the reader of the table. */
  readonly guard?: string
  /** In use it changes how many bytes or how much time an output token takes on its way out: see `teachesRates`. */
  readonly reshapes?: boolean
  /** Values that need no grant and reshape nothing: what an engine does anyway. */
  readonly harmless?: readonly (string | boolean)[]
}

/** The closed list of one object's fields. */
export interface FieldTable {
  /** Put before an unknown name, as `messages[].`; empty for the body itself. */
  readonly prefix: string
  readonly rules: ReadonlyMap<string, FieldRule>
  /** The known names as `foldName` makes them. */
  readonly folded: ReadonlyMap<string, string>
}

export function fieldTable(prefix: string, rules: Readonly<Record<string, FieldRule>>): FieldTable {
  return { prefix, rules: new Map(Object.entries(rules)), folded: foldNames(Object.keys(rules)) }
}

/** The names by what `foldName` makes of them. */
export function foldNames(names: Iterable<string>): ReadonlyMap<string, string> {
  return new Map([...names].map((name) => [foldName(name), name]))
}

/**
 * What lenient readers may take for the same name: Go's JSON ignores case with Unicode folding (`ſ` is an s, the
 * Kelvin sign a k), protobuf's takes `maxTokens` for `max_tokens`. A name that only looks like a known one must
 * not reach an engine as an unknown field that the policy lets through.
 */
export function foldName(name: string): string {
  return name
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[\s_-]/g, '')
}

/**
 * Checks every field of an object against its table. Texts become segments; what needs a grant or the
 * model's `extraFields` is noted, and its text becomes a segment as well, so that what is let through was read.
 *
 * @param at where the object is, as `messages[2].`, for the refusal
 */
export function readFields(
  reading: Reading,
  object: JsonObject,
  table: FieldTable,
  at: string,
): Denial | undefined {
  for (const [name, value] of object) {
    const rule = table.rules.get(name)
    if (rule === undefined) {
      const folded = foldName(name.slice(0, 128))
      const known = table.folded.get(folded)
      if (known !== undefined) {
        const param = at + safeName(name)
        return deny('request_invalid', `The field "${param}" must be spelt "${known}".`, { param })
      }
      // A field that needs a grant elsewhere is not made harmless by its place.
      const guarded = reading.guardedNames.get(folded)
      if (guarded !== undefined) {
        reading.guarded.add(guarded)
        reading.reshaping.add(guarded)
      } else reading.unknown.add(table.prefix + name)
      if (reading.unknown.size > maxUnknownFields) {
        return deny(
          'request_invalid',
          `Send at most ${String(maxUnknownFields)} fields that are not known here.`,
        )
      }
      reading.say('user', `${name}\n${textOf(value)}`)
      continue
    }
    if (value === null && rule.nullable === true) continue
    if (!isHarmless(rule, value)) {
      if (rule.guard !== undefined) reading.guarded.add(name)
      if (rule.reshapes === true) reading.reshaping.add(name)
    }
    const denial = readField(reading, value, rule.kind, at + name)
    if (denial !== undefined) return denial
  }
  return undefined
}

function isHarmless(rule: FieldRule, value: JsonValue): boolean {
  return (
    (typeof value === 'string' || typeof value === 'boolean') &&
    rule.harmless?.includes(value) === true
  )
}

function readField(
  reading: Reading,
  value: JsonValue,
  kind: FieldKind,
  param: string,
): Denial | undefined {
  if (typeof kind === 'object') return readInto(reading, value, kind, param)
  switch (kind) {
    case 'own':
      return undefined
    case 'boolean':
      return typeof value === 'boolean' ? undefined : invalid(param, 'true or false')
    case 'number':
      return isNumber(value) ? undefined : invalid(param, 'a number')
    case 'integer':
      return isNumber(value) && value.integer ? undefined : invalid(param, 'an integer')
    case 'count':
      return isCount(value) ? undefined : invalid(param, countText)
    case 'keyword':
      if (typeof value !== 'string' || !/^[a-z0-9_-]{1,32}$/.test(value)) {
        return invalid(param, 'a short lower-case word')
      }
      reading.say('user', value)
      return undefined
    case 'integers':
      return isArray(value) && value.every((item) => isNumber(item) && item.integer)
        ? undefined
        : invalid(param, 'a list of integers')
    case 'biases':
      return isBiases(value) ? undefined : invalid(param, 'an object of numbers by token id')
    case 'opaque':
      return isStrings(value) ? undefined : invalid(param, 'a string or a list of strings')
  }
}

function readInto(
  reading: Reading,
  value: JsonValue,
  kind: Extract<FieldKind, object>,
  param: string,
): Denial | undefined {
  if ('fields' in kind) {
    if (!isObject(value)) return invalid(param, 'an object')
    return readFields(reading, value, kind.fields, `${param}.`)
  }
  if ('any' in kind) {
    reading.sayJson(kind.any, value)
    return undefined
  }
  if ('text' in kind) {
    if (typeof value !== 'string') return invalid(param, 'a string')
    reading.say(kind.text, value)
    return undefined
  }
  if (!isStrings(value)) return invalid(param, 'a string or a list of strings')
  reading.say(kind.texts, textOf(value))
  return undefined
}

function isStrings(value: JsonValue): boolean {
  if (typeof value === 'string') return true
  return isArray(value) && value.every((item) => typeof item === 'string')
}

function isBiases(value: JsonValue): boolean {
  if (!isObject(value)) return false
  for (const [name, bias] of value) {
    if (!/^[0-9]{1,10}$/.test(name) || !isNumber(bias)) return false
  }
  return true
}

export function isNumber(value: JsonValue | undefined): value is JsonNumber {
  return typeof value === 'object' && value !== null && !isArray(value) && !isObject(value)
}

const countText = 'an integer from 1 to 2147483647'

function isCount(value: JsonValue | undefined): value is JsonNumber {
  return isNumber(value) && value.integer && value.value >= 1 && value.value <= maxInteger
}

/** The value of a field that was checked as `count`; undefined where it is missing or null. */
export function countOf(object: JsonObject, name: string): number | undefined {
  const value = object.get(name)
  return isCount(value) ? value.value : undefined
}

/** @param what what the field must be, as it follows "must be" */
export function invalid(param: string, what: string): Denial {
  return deny('request_invalid', `The field "${param}" must be ${what}.`, { param })
}
