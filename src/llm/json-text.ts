import type { JsonArray, JsonObject, JsonValue } from './json.js'

/**
 * All that a JSON value says, one name or value per line in the order as sent: what a chat template prints of
 * it, without the punctuation and with escapes undone. Numbers and words are in it, as the engine reads them
 * as text. Linear in the value; the parser bounds the recursion.
 */
export function textOf(value: JsonValue): string {
  const lines: string[] = []
  collect(value, lines, (text) => text)
  return lines.join('\n')
}

/**
 * The same of an image, a sound or a file, without what is encoded in base64: megabytes that say nothing to a
 * detector and are no text to the engine.
 */
export function textOfMedia(value: JsonValue): string {
  const lines: string[] = []
  collect(value, lines, (text, name) => {
    if (payloadNames.has(name)) return ''
    const comma = text.startsWith('data:') ? text.indexOf(';base64,') : -1
    return comma === -1 ? text : text.slice(0, comma)
  })
  return lines.join('\n')
}

const payloadNames: ReadonlySet<string> = new Set([
  'data',
  'file_data',
  'image_embeds',
  'image_pil',
  'audio_embeds',
  'prompt_embeds',
])

function collect(
  value: JsonValue,
  lines: string[],
  readable: (text: string, name: string) => string,
  name = '',
): void {
  if (typeof value === 'string') lines.push(readable(value, name))
  else if (value === null || typeof value === 'boolean') lines.push(String(value))
  else if (isArray(value)) for (const item of value) collect(item, lines, readable, name)
  else if (isObject(value)) {
    for (const [memberName, member] of value) {
      lines.push(memberName)
      collect(member, lines, readable, memberName)
    }
  } else lines.push(String(value.value))
}

/** How many values there are in one, itself included. */
export function valuesIn(value: JsonValue): number {
  let values = 1
  if (isArray(value)) for (const item of value) values += valuesIn(item)
  else if (isObject(value)) for (const member of value.values()) values += valuesIn(member)
  return values
}

/**
 * Would a filter that re-serialises the document through doubles leave every number as it is? Integers beyond
 * 2^53 change; fractions do not, since every reader makes the same double of either spelling.
 */
export function survivesRewrite(value: JsonValue): boolean {
  if (value === null || typeof value !== 'object') return true
  if (isArray(value)) return value.every(survivesRewrite)
  if (isObject(value)) {
    for (const member of value.values()) if (!survivesRewrite(member)) return false
    return true
  }
  return !value.integer || Number.isSafeInteger(value.value)
}

/** `Array.isArray` would narrow a readonly array to `any[]`. */
export function isArray(value: JsonValue | undefined): value is JsonArray {
  return Array.isArray(value)
}

export function isObject(value: JsonValue | undefined): value is JsonObject {
  return value instanceof Map
}
