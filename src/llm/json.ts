import { Buffer, isAscii, isUtf8 } from 'node:buffer'
import { deny } from '../denial.js'
import type { Denial } from '../denial.js'

/** An object as a map, so that `__proto__` is a name like any other. Names are unique, in the order as sent. */
export type JsonObject = ReadonlyMap<string, JsonValue>
export type JsonArray = readonly JsonValue[]
export type JsonValue = string | boolean | null | JsonNumber | JsonArray | JsonObject

/**
 * A number as it was written. Engines differ over whether `1.0` or `1e2` is an integer, so what matters is
 * how it was spelt, not what it comes to.
 */
export interface JsonNumber {
  /** Always finite. */
  readonly value: number
  /** Spelt without fraction and exponent. */
  readonly integer: boolean
}

/** Bounds of one document; each is refused, never cut. */
export interface JsonLimits {
  /** Objects and arrays within one another; the top-level object is 1. At most 1,000, as reading recurses. */
  readonly maxDepth: number
  /** Values in all, scalars and containers. */
  readonly maxValues: number
  /** Names in one object. */
  readonly maxNames: number
  /** Characters of one number. */
  readonly maxNumberChars: number
}

/**
 * Enough for any real prompt (a conversation of 1,000 messages with 100 tools has about 10,000 values), and
 * small enough that 8 MiB of the costliest structure stay cheap: without it, 10 MB of `[` cost `JSON.parse` 0.9 s.
 */
export const jsonLimits: JsonLimits = {
  maxDepth: 64,
  maxValues: 100_000,
  maxNames: 10_000,
  maxNumberChars: 256,
}

// Sticky and without alternatives that overlap: each runs once over what it matches and never backtracks.
const spaceRun = /[ \t\n\r]*/y
// RFC 8259 §7: control characters must be escaped.
const plainRun = /[^"\\\u0000-\u001f]*/y
const numberText = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y
const fractionOrExponent = /[.eE]/
/** UTF-8 has no half pairs, so one can only come from an escape. */
const surrogateEscape = /\\u[dD]/
/** Matches no whole pair, as `u` makes one character of it. */
const halfPair = /[\ud800-\udfff]/u

const quote = 0x22
const comma = 0x2c
const digitZero = 0x30
const colon = 0x3a
const openBracket = 0x5b
const backslash = 0x5c
const closeBracket = 0x5d
const openBrace = 0x7b
const closeBrace = 0x7d

/** So many characters are looked at one by one first: it is faster than the call of a regular expression. */
const shortRun = 16
/** Every integer of so many digits is exact in a double. */
const exactDigits = 15

/** Carries the refusal out of the recursion; never leaves this file. */
class JsonFault extends Error {}

/**
 * Reads a body that must be one JSON object (RFC 8259), in the one spelling that every reader agrees on: UTF-8
 * without byte order mark or lone surrogates, no name twice in an object, no number beyond a double, bounded
 * structure. Python, Go and Rust readers differ on everything refused here (last duplicate wins, UTF-16 is
 * guessed, `NaN` is read), so what was inspected could not be relied on to be what the engine reads.
 *
 * Linear in the size of the body.
 *
 * @returns the object, or `json_invalid` with what is wrong and where, without any text of the body
 */
export function parseJson(bytes: Uint8Array, limits: JsonLimits = jsonLimits): JsonObject | Denial {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const ascii = isAscii(buffer)
  if (!ascii && !isUtf8(buffer)) return invalid('it is not UTF-8')
  // Strings of one byte per character are read about twice as fast.
  const text = buffer.toString(ascii ? 'latin1' : 'utf8')
  if (text.charCodeAt(0) === 0xfeff) return invalid('it begins with a byte order mark')
  try {
    return readDocument(text, limits)
  } catch (error) {
    if (error instanceof JsonFault) return invalid(error.message)
    throw error
  }
}

function invalid(what: string): Denial {
  return deny('json_invalid', `The body is not acceptable JSON: ${what}.`)
}

function readDocument(text: string, limits: JsonLimits): JsonObject {
  let at = 0
  let values = 0

  function fail(what: string): never {
    throw new JsonFault(`${what} at character ${String(at)}`)
  }

  function skipSpace(): void {
    // Nearly always there is none, and the comparison is cheaper than the call.
    if (text.charCodeAt(at) > 0x20) return
    spaceRun.lastIndex = at
    spaceRun.test(text)
    at = spaceRun.lastIndex
  }

  function readValue(depth: number): JsonValue {
    values += 1
    if (values > limits.maxValues) fail(`more than ${String(limits.maxValues)} values`)
    switch (text.charCodeAt(at)) {
      case quote:
        return readString()
      case openBrace:
        return readObject(depth + 1)
      case openBracket:
        return readArray(depth + 1)
      case 0x74:
        return readWord('true', true)
      case 0x66:
        return readWord('false', false)
      case 0x6e:
        return readWord('null', null)
      default:
        return readNumber()
    }
  }

  function readWord<T extends boolean | null>(word: string, value: T): T {
    if (!text.startsWith(word, at)) fail('an unknown word')
    at += word.length
    return value
  }

  function readNumber(): JsonNumber {
    return readShortInteger() ?? readAnyNumber()
  }

  /** By far the most numbers, and all token ids: digits alone. */
  function readShortInteger(): JsonNumber | undefined {
    let value = 0
    let end = at
    for (; end - at <= exactDigits; end += 1) {
      const digit = text.charCodeAt(end) - digitZero
      if (!(digit >= 0 && digit <= 9)) break
      value = value * 10 + digit
    }
    const digits = end - at
    const leadingZero = digits > 1 && text.charCodeAt(at) === digitZero
    if (digits === 0 || digits > exactDigits || leadingZero) return undefined
    const next = text.charCodeAt(end)
    if (next !== comma && next !== closeBracket && next !== closeBrace) return undefined
    at = end
    return { value, integer: true }
  }

  function readAnyNumber(): JsonNumber {
    numberText.lastIndex = at
    if (!numberText.test(text)) fail(at >= text.length ? 'an early end' : 'no value')
    const end = numberText.lastIndex
    if (end - at > limits.maxNumberChars) fail('a number that is too long')
    const spelling = text.slice(at, end)
    const value = Number(spelling)
    // `1e400` is infinity to one reader and an error to the next.
    if (!Number.isFinite(value)) fail('a number that is too large')
    at = end
    return { value, integer: !fractionOrExponent.test(spelling) }
  }

  /** `at` is on the opening quote; afterwards behind the closing one. */
  function readString(): string {
    const start = at + 1
    let escaped = false
    at = start
    for (;;) {
      skipPlain()
      const code = text.charCodeAt(at)
      if (code === quote) break
      if (code !== backslash)
        fail(at < text.length ? 'a control character' : 'a string without end')
      escaped = true
      at += 2
    }
    at += 1
    return escaped ? unescaped(text.slice(start - 1, at)) : text.slice(start, at - 1)
  }

  /** On to the next quote, backslash, control character or the end. */
  function skipPlain(): void {
    for (const shortEnd = at + shortRun; at < shortEnd; at += 1) {
      const code = text.charCodeAt(at)
      if (!(code >= 0x20) || code === quote || code === backslash) return
    }
    plainRun.lastIndex = at
    plainRun.test(text)
    at = plainRun.lastIndex
  }

  /** The meaning of a string literal, given with its quotes. */
  function unescaped(literal: string): string {
    let value: string
    try {
      value = JSON.parse(literal) as string
    } catch {
      // Its message quotes the text, so it ends here.
      fail('an unknown escape in the string that ends')
    }
    // Half a surrogate pair is replaced, kept or refused, depending on the reader.
    if (surrogateEscape.test(literal) && halfPair.test(value)) {
      fail('half a surrogate pair in the string that ends')
    }
    return value
  }

  function readArray(depth: number): JsonArray {
    if (depth > limits.maxDepth) fail(`nesting deeper than ${String(limits.maxDepth)}`)
    const items: JsonValue[] = []
    at += 1
    skipSpace()
    if (text.charCodeAt(at) === closeBracket) {
      at += 1
      return items
    }
    for (;;) {
      items.push(readValue(depth))
      skipSpace()
      const code = text.charCodeAt(at)
      if (code !== comma && code !== closeBracket) fail('neither a comma nor the end of an array')
      at += 1
      if (code === closeBracket) return items
      skipSpace()
    }
  }

  function readObject(depth: number): JsonObject {
    if (depth > limits.maxDepth) fail(`nesting deeper than ${String(limits.maxDepth)}`)
    const members = new Map<string, JsonValue>()
    at += 1
    skipSpace()
    if (text.charCodeAt(at) === closeBrace) {
      at += 1
      return members
    }
    for (;;) {
      if (text.charCodeAt(at) !== quote) fail('no name')
      const name = readString()
      if (members.has(name)) fail('a name for the second time in one object')
      if (members.size >= limits.maxNames) fail(`more than ${String(limits.maxNames)} names`)
      skipSpace()
      if (text.charCodeAt(at) !== colon) fail('no colon')
      at += 1
      skipSpace()
      members.set(name, readValue(depth))
      skipSpace()
      const code = text.charCodeAt(at)
      if (code !== comma && code !== closeBrace) fail('neither a comma nor the end of an object')
      at += 1
      if (code === closeBrace) return members
      skipSpace()
    }
  }

  skipSpace()
  if (text.charCodeAt(at) !== openBrace) fail('no object')
  values += 1
  const document = readObject(1)
  skipSpace()
  if (at < text.length) fail('something after the object')
  return document
}
