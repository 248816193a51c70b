import { foldedTable, plainTable } from './fold.js'
import type { FoldTable } from './fold.js'
import { findHidden } from './hidden-text.js'
import type { HiddenRun } from './hidden-text.js'
import { transcode } from './transcode.js'

/** Which form of a text a detector read; its offsets count UTF-16 units of that form. */
export type Level = 'plain' | 'folded'

/**
 * The normalised forms of one text, made when first asked for.
 *
 * A text of printable ASCII is its own `plain` form, and both forms keep its offsets, so the common case costs a
 * scan and a lower-casing. White space is not collapsed here: the phrase automaton skips runs of it.
 */
export interface View {
  /** Compatibility forms, nothing invisible, ASCII digits; case, accents and line ends kept. */
  readonly plain: string
  /** `plain` in lower case, without accents, look-alikes as Latin letters. */
  readonly folded: string
  /** Runs of tag characters or variation selectors that carry text; at most `MAX_HIDDEN_RUNS`. */
  readonly hidden: readonly HiddenRun[]
  /** The part of the segment's own text that became `[start, end)` of a form. */
  sourceSpan(level: Level, start: number, end: number): readonly [start: number, end: number]
}

// Printable ASCII and the white space that both forms keep.
const UNCHANGED = /^[\t\n\r\x20-\x7e]*$/

/** @param text UTF-16, of any length; lone surrogates stand for themselves */
export function createView(text: string): View {
  // A single class under one star: no two ways to match, so no backtracking.
  if (UNCHANGED.test(text)) {
    return {
      plain: text,
      folded: text.toLowerCase(),
      hidden: [],
      sourceSpan: (_level, start, end) => [start, end],
    }
  }
  const forms: { [level in Level]?: string } = {}
  const maps: { [level in Level]?: Uint32Array } = {}
  let hidden: readonly HiddenRun[] | undefined
  const tableOf = (level: Level): FoldTable => (level === 'plain' ? plainTable : foldedTable)
  const form = (level: Level): string => (forms[level] ??= transcode(text, tableOf(level)).form)
  return {
    get plain() {
      return form('plain')
    },
    get folded() {
      return form('folded')
    },
    get hidden() {
      return (hidden ??= findHidden(text))
    },
    sourceSpan: (level, start, end) => {
      const map = (maps[level] ??= transcode(text, tableOf(level), { map: true }).map)
      return mapSpan(map, start, end)
    },
  }
}

/** The folded form of a phrase: what to look for in the folded form of a text. */
export function foldText(text: string): string {
  return UNCHANGED.test(text) ? text.toLowerCase() : transcode(text, foldedTable).form
}

function mapSpan(map: Uint32Array, start: number, end: number): readonly [number, number] {
  const last = map.length - 1
  // Several units may come from one character: the span takes in the whole of it.
  let after = Math.min(end, last)
  while (after < last && after > 0 && map[after] === map[after - 1]) after++
  return [map[Math.min(start, last)] ?? 0, map[after] ?? 0]
}
