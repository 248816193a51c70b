import { joinParts } from '../segment.js'
import type { Provenance, Segment } from '../segment.js'
import type { JsonValue } from './json.js'
import { textOf, valuesIn } from './json-text.js'

/** What is found while one body is read. It grows field by field; `readAsk` makes an `Ask` of it. */
export interface Reading {
  /** Every name in this dialect that needs a grant, wherever it stands, by what `foldName` makes of it. */
  readonly guardedNames: ReadonlyMap<string, string>
  readonly guarded: Set<string>
  readonly unknown: Set<string>
  /** Fields in use that change how many bytes or how much time an output token takes on its way out. */
  readonly reshaping: Set<string>
  readonly segments: readonly Segment[]
  readonly markupTokens: () => number
  /** Notes a text. An empty one is no segment, but a template prints its marks around it. */
  say(provenance: Provenance, text: string): void
  /** Notes text parts side by side as one text: a sentence may be spread over them. */
  sayParts(provenance: Provenance, parts: readonly string[]): void
  /** Notes what a template prints as JSON. */
  sayJson(provenance: Provenance, value: JsonValue): void
}

/** The markers of a role and of a message's end: 4 to 6 in the templates of common models. */
const textMarkTokens = 8
/** Quotes, colon, comma, bracket and indentation of one value and its name. */
const jsonValueTokens = 3

export function startReading(guardedNames: ReadonlyMap<string, string>): Reading {
  const segments: Segment[] = []
  let markupTokens = 0
  const say = (provenance: Provenance, text: string): void => {
    markupTokens += textMarkTokens
    if (text !== '') segments.push({ provenance, text })
  }
  return {
    guardedNames,
    guarded: new Set(),
    unknown: new Set(),
    reshaping: new Set(),
    segments,
    markupTokens: () => markupTokens,
    say,
    sayParts(provenance, parts) {
      if (parts.length < 2) {
        say(provenance, parts.join(''))
        return
      }
      markupTokens += textMarkTokens
      segments.push({ provenance, ...joinParts(parts) })
    },
    sayJson(provenance, value) {
      const text = textOf(value)
      say(provenance, text)
      // Each escape that JSON writes is a token where a run of line breaks, unescaped, is next to none.
      const escapes = JSON.stringify(text).length - text.length
      markupTokens += jsonValueTokens * valuesIn(value) + escapes
    },
  }
}
