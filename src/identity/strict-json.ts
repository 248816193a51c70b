/** A JSON value as `JSON.parse` builds it. Read members with `member`, never by index. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject
export interface JsonObject {
  readonly [name: string]: JsonValue
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Reads a JSON object of which every party sees the same: UTF-8 without BOM, bounded depth, no `__proto__`, no
 * name twice in one object, also after unescaping. RFC 7519 §4 and RFC 7515 §4 let a parser refuse repeated names
 * or take the last; two parsers that choose differently would see two issuers in one credential.
 *
 * @param maxDepth deepest nesting that is read, the object itself being 1
 * @returns undefined for anything else; linear in the bytes
 */
export function parseStrictObject(bytes: Uint8Array, maxDepth: number): JsonObject | undefined {
  try {
    const text = utf8.decode(bytes)
    if (!hasStrictNames(text, maxDepth)) return undefined
    const value = JSON.parse(text) as JsonValue
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

/** The object's own member; never one that it inherits, as `constructor`. */
export function member(object: JsonObject, name: string): JsonValue | undefined {
  return Object.hasOwn(object, name) ? object[name] : undefined
}

export function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** `Array.isArray` that knows its elements. */
export function isArray(value: JsonValue | undefined): value is readonly JsonValue[] {
  return Array.isArray(value)
}

const quote = 0x22
const colon = 0x3a
const backslash = 0x5c
const openBracket = 0x5b
const closeBracket = 0x5d
const openBrace = 0x7b
const closeBrace = 0x7d

/**
 * Looks at nesting and names only and trusts `JSON.parse` for the rest of the grammar: whatever text passes
 * that, each string before a colon is a name of the innermost open object. It runs first, so that the depth is
 * known before anything is built.
 */
function hasStrictNames(text: string, maxDepth: number): boolean {
  /** The names so far of each open object; undefined for an open array. */
  const open: (Set<string> | undefined)[] = []
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === quote) {
      const end = endOfString(text, at)
      if (end === undefined) return false
      if (text.charCodeAt(skipSpace(text, end)) === colon) {
        const names = open.at(-1)
        const name = unescapeName(text.slice(at, end))
        if (names === undefined || names.has(name) || name === '__proto__') return false
        names.add(name)
      }
      at = end - 1
    } else if (code === openBrace || code === openBracket) {
      if (open.length === maxDepth) return false
      open.push(code === openBrace ? new Set() : undefined)
    } else if (code === closeBrace || code === closeBracket) {
      open.pop()
    }
  }
  return true
}

/** Index behind the closing quote. */
function endOfString(text: string, start: number): number | undefined {
  for (let at = start + 1; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === quote) return at + 1
    if (code === backslash) at++
  }
  return undefined
}

/** @throws SyntaxError the literal is none */
function unescapeName(literal: string): string {
  return literal.includes('\\') ? (JSON.parse(literal) as string) : literal.slice(1, -1)
}

function skipSpace(text: string, start: number): number {
  let at = start
  for (;;) {
    const code = text.charCodeAt(at)
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return at
    at++
  }
}
