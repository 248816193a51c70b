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

/**
 * Looks at nesting and names only and trusts `JSON.parse` for the rest of the grammar: whatever text passes
 * that, each string before a colon is a name of the innermost open object. It runs first, so that the depth is
 * known before anything is built.
 */
function hasStrictNames(text: string, maxDepth: number): boolean {
  const openNames: Set<string>[] = []
  for (let at = 0; at < text.length; at++) {
    const char = text[at]
    if (char === '{' || char === '[') {
      if (openNames.length === maxDepth) return false
      openNames.push(new Set())
    } else if (char === '}' || char === ']') {
      openNames.pop()
    } else if (char === '"') {
      const end = endOfString(text, at)
      if (end === undefined) return false
      if (text[skipSpace(text, end)] === ':') {
        const name = JSON.parse(text.slice(at, end)) as string
        const names = openNames.at(-1)
        if (names === undefined || names.has(name) || name === '__proto__') return false
        names.add(name)
      }
      at = end - 1
    }
  }
  return true
}

/** Index behind the closing quote. */
function endOfString(text: string, start: number): number | undefined {
  for (let at = start + 1; at < text.length; at++) {
    if (text[at] === '"') return at + 1
    if (text[at] === '\\') at++
  }
  return undefined
}

function skipSpace(text: string, start: number): number {
  let at = start
  while (text[at] === ' ' || text[at] === '\n' || text[at] === '\r' || text[at] === '\t') at++
  return at
}
