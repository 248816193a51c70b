import type { Provenance, Segment } from '../segment.js'
import type { Ask } from './ask.js'
import type { JsonObject } from './json.js'
import { survivesRewrite } from './json-text.js'

/** What is found while one body is read. It grows field by field and becomes an `Ask` at the end. */
export interface Reading {
  /** Every name in this dialect that needs a grant, wherever it stands. */
  readonly guardedNames: ReadonlySet<string>
  readonly guarded: Set<string>
  readonly unknown: Set<string>
  /** Notes a text. Empty ones are left out. */
  say(provenance: Provenance, text: string): void
  finish(
    body: JsonObject,
    rest: Omit<Ask, 'segments' | 'unknownFields' | 'guardedFields' | 'rewritable'>,
  ): Ask
}

export function startReading(guardedNames: ReadonlySet<string>): Reading {
  const segments: Segment[] = []
  const guarded = new Set<string>()
  const unknown = new Set<string>()
  return {
    guardedNames,
    guarded,
    unknown,
    say(provenance, text) {
      if (text !== '') segments.push({ provenance, text })
    },
    finish(body, rest) {
      return {
        ...rest,
        segments,
        rewritable: survivesRewrite(body),
        unknownFields: [...unknown],
        guardedFields: [...guarded],
      }
    },
  }
}
