import type { HeaderValueOption } from './wire.js'

/**
 * Sets a header to exactly this value, whatever was there.
 *
 * Both ways of saying so are given, since the default differs by version: Envoy up to 1.36 reads `append` alone,
 * later ones read `append_action` where `append` is missing, and its default would leave a client's own value beside
 * ours. Envoy reads `value` here, never `raw_value`.
 */
export function setHeader(name: string, value: string): HeaderValueOption {
  return {
    header: { key: name, value },
    append: { value: false },
    appendAction: 'OVERWRITE_IF_EXISTS_OR_ADD',
  }
}

const plainForm = /^[\x21-\x24\x26-\x7e]*$/

/**
 * Any text as a header value of visible ASCII: other bytes of its UTF-8, and `%` itself, are percent-encoded, so no
 * two texts share a value and no value can end its line.
 */
export function encodeValue(text: string): string {
  if (plainForm.test(text)) return text
  let encoded = ''
  for (const byte of Buffer.from(text, 'utf8')) {
    const plain = byte > 0x20 && byte < 0x7f && byte !== 0x25
    encoded += plain
      ? String.fromCharCode(byte)
      : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
  }
  return encoded
}
