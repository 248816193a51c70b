import type { EncodingName } from './encodings.js'

/**
 * White space as Unicode has it. JavaScript's own `\s` holds U+FEFF and lacks U+0085, and two splitters that
 * disagree on one character count differently from there on.
 */
const space = '\\t-\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000'
const contraction = "'(?:[sS\\u017ftTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])"
const lead = '[^\\r\\n\\p{L}\\p{N}]?'
const upper = '\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}'
const lower = '\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}'
const blanks = `[${space}]*[\\r\\n]+|[${space}]+(?![^${space}])|[${space}]+`

/**
 * How each encoding splits a text before byte pair encoding, as published with its vocabulary, spelt for
 * JavaScript. Two neighbouring quantifiers overlap in o200k_base; on the windows of at most 2,048 characters
 * that it is given, one piece costs at most two passes over the window.
 */
const splitters: Readonly<Record<EncodingName, RegExp>> = {
  cl100k_base: new RegExp(
    `${contraction}|${lead}\\p{L}+|\\p{N}{1,3}| ?[^${space}\\p{L}\\p{N}]+[\\r\\n]*|${blanks}`,
    'gu',
  ),
  o200k_base: new RegExp(
    `${lead}[${upper}]*[${lower}]+(?:${contraction})?|${lead}[${upper}]+[${lower}]*(?:${contraction})?` +
      `|\\p{N}{1,3}| ?[^${space}\\p{L}\\p{N}]+[\\r\\n/]*|${blanks}`,
    'gu',
  ),
}

/** The pieces of a text, in order and without gap: no token spans two of them. */
export function splitPieces(encoding: EncodingName, text: string): readonly string[] {
  return text.match(splitters[encoding]) ?? []
}

/**
 * Where to end a window that starts at `from`, so that splitting window by window yields the pieces of the
 * whole text: at a space behind a character that is none, as every splitter ends a piece there. Where the
 * window has no such place it is cut at its end, which can cost a few tokens more.
 *
 * @returns the end, exclusive; greater than `from`, and never between the halves of a surrogate pair
 */
export function windowEnd(text: string, from: number, maxChars: number): number {
  const end = from + maxChars
  if (end >= text.length) return text.length
  // Only the second half of the window is searched: `lastIndexOf` on the text itself would search back to its
  // beginning, and a text without spaces would cost the square of its length.
  const middle = from + Math.floor(maxChars / 2)
  const half = text.slice(middle, end + 1)
  for (let at = half.lastIndexOf(' '); at > 0; at = half.lastIndexOf(' ', at - 1)) {
    if (!isSpace(half.charCodeAt(at - 1))) return middle + at
  }
  return withoutHalfPair(text, end)
}

/** `end`, or one less where it would part a surrogate pair. */
export function withoutHalfPair(text: string, end: number): number {
  const before = text.charCodeAt(end - 1)
  return before >= 0xd800 && before <= 0xdbff ? end - 1 : end
}

function isSpace(code: number): boolean {
  if (code <= 0x20) return true
  if (code < 0x80) return false
  return (
    code === 0x85 ||
    code === 0xa0 ||
    code === 0x1680 ||
    (code >= 0x2000 && code <= 0x202f) ||
    code === 0x205f ||
    code === 0x3000
  )
}
