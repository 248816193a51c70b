import { DROP, EXPAND, foldedTable, plainTable } from './fold.js'
import type { FoldTable } from './fold.js'

/** Which form of a text a detector read; its offsets count UTF-16 units of that form. */
export type Level = 'plain' | 'folded'

/** Text that no reader sees but a model may: where, in offsets of the segment's own text. */
export interface HiddenRun {
  readonly kind: 'hidden_tag_text' | 'hidden_variation_bytes'
  readonly span: readonly [start: number, end: number]
}

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

/** More runs than these tell nothing more, and a body full of them must not become a list of millions. */
const MAX_HIDDEN_RUNS = 16
/** A flag such as Scotland's holds five tag letters after U+1F3F4; any other tag run of this length is a message. */
const MIN_TAG_LETTERS = 3
/** One selector may follow a character; a run of them only occurs where each encodes a byte. */
const MIN_VARIATION_RUN = 8

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

const SPACE = 0x20
/** Below it every unit becomes one unit or none, and composes with nothing. */
const ASCII_END = 0x80
/** A tag character is this plus the ASCII character that it stands for. */
const TAG_BLOCK = 0xe0000

function isTag(codePoint: number): boolean {
  return codePoint >= 0xe0020 && codePoint <= 0xe007e
}

function isVariationSelector(codePoint: number): boolean {
  return (
    (codePoint >= 0xfe00 && codePoint <= 0xfe0f) || (codePoint >= 0xe0100 && codePoint <= 0xe01ef)
  )
}

/** Most units that one character adds: its expansion and a space before it. */
const MAX_STEP_UNITS = 8

/**
 * One pass over the text. Each unit costs a table look-up; a mark is composed with the unit before it, two at a
 * time. `map[k]` is the source offset of unit k of the form, with one entry more for the end; empty unless asked
 * for.
 */
function transcode(
  text: string,
  table: FoldTable,
  options?: { map: true },
): { form: string; map: Uint32Array } {
  const { units, expansions } = table
  const withMap = options !== undefined
  let out = new Uint16Array(text.length + MAX_STEP_UNITS)
  let map = new Uint32Array(withMap ? out.length : 0)
  let at = 0
  // What tags spell is a text of its own: it must not grow together with the words around it.
  let inTags = false
  for (let index = 0; index < text.length; index++) {
    if (at + MAX_STEP_UNITS > out.length) {
      out = copied(out, new Uint16Array(out.length * 2))
      if (withMap) map = copied(map, new Uint32Array(out.length))
    }
    const from = at
    const source = index
    const unit = text.charCodeAt(index)
    if (unit < ASCII_END && !inTags) {
      const mapped = units[unit] ?? DROP
      if (mapped === DROP) continue
      if (withMap) map[at] = source
      out[at++] = mapped
      continue
    }
    let codePoint = unit
    if (unit >= 0xd800 && unit <= 0xdbff) {
      codePoint = text.codePointAt(index) ?? unit
      if (codePoint > 0xffff) index++
    }
    const mapped = codePoint > 0xffff ? EXPAND : (units[unit] ?? DROP)
    if (mapped === DROP) continue
    const hidden = codePoint > 0xffff && isTag(codePoint)
    const expansion = mapped === EXPAND && !hidden ? expansions.get(codePoint) : undefined
    if (expansion === '') continue
    if (hidden !== inTags) {
      out[at++] = SPACE
      inTags = hidden
    }
    if (hidden) {
      out[at++] = units[codePoint - TAG_BLOCK] ?? 0
    } else if (mapped !== EXPAND) {
      const composed = at > 0 && mayCompose(mapped) ? compose(out[at - 1] ?? 0, mapped, table) : 0
      if (composed === 0) out[at++] = mapped
      else out[at - 1] = composed
    } else if (expansion === undefined) {
      out[at++] = unit
      out[at++] = text.charCodeAt(index)
    } else {
      for (let k = 0; k < expansion.length; k++) {
        const next = expansion.charCodeAt(k)
        const composed = at > 0 && mayCompose(next) ? compose(out[at - 1] ?? 0, next, table) : 0
        if (composed === 0) out[at++] = next
        else out[at - 1] = composed
      }
    }
    if (withMap) map.fill(source, from, at)
  }
  const form = toText(out.subarray(0, at))
  if (!withMap) return { form, map }
  const exact = new Uint32Array(at + 1)
  exact.set(map.subarray(0, at))
  exact[at] = text.length
  return { form, map: exact }
}

function copied<T extends Uint16Array | Uint32Array>(from: T, to: T): T {
  to.set(from)
  return to
}

/** Marks and the later letters of a Hangul syllable: the only units that compose with the one before. */
function mayCompose(unit: number): boolean {
  if (unit < 0x0300 || unit > 0x309a) return false
  return (
    unit <= 0x036f ||
    (unit >= 0x0653 && unit <= 0x0655) ||
    (unit >= 0x093c && unit <= 0x0ddf && composingIndic.has(unit)) ||
    unit === 0x102e ||
    (unit >= 0x1161 && unit <= 0x11c2) ||
    unit === 0x3099 ||
    unit === 0x309a
  )
}

// The second halves of the canonical pairs of the Indic blocks, from NFD of those blocks.
const composingIndic: ReadonlySet<number> = (() => {
  const seconds = new Set<number>()
  for (let unit = 0x0900; unit <= 0x0dff; unit++) {
    const parts = String.fromCharCode(unit).normalize('NFD')
    if (parts.length > 1) seconds.add(parts.charCodeAt(parts.length - 1))
  }
  return seconds
})()

/** The one unit that two become, or 0. The result goes through the table again, so that folding is idempotent. */
function compose(first: number, second: number, table: FoldTable): number {
  const composed = String.fromCharCode(first, second).normalize('NFC')
  if (composed.length !== 1) return 0
  const mapped = table.units[composed.charCodeAt(0)] ?? DROP
  return mapped === EXPAND ? 0 : mapped
}

function toText(units: Uint16Array): string {
  // Node runs little-endian only where typed arrays are too; this is a copy, without a look at the units.
  return Buffer.from(units.buffer, units.byteOffset, units.byteLength).toString('utf16le')
}

function findHidden(text: string): readonly HiddenRun[] {
  const runs: HiddenRun[] = []
  let start = 0
  let tagLetters = 0
  let selectors = 0
  let afterBlackFlag = false
  let previous = 0
  const close = (end: number): void => {
    if (tagLetters >= MIN_TAG_LETTERS && !afterBlackFlag) {
      runs.push({ kind: 'hidden_tag_text', span: [start, end] })
    } else if (selectors >= MIN_VARIATION_RUN) {
      runs.push({ kind: 'hidden_variation_bytes', span: [start, end] })
    }
    tagLetters = 0
    selectors = 0
  }
  for (let index = 0; index < text.length && runs.length < MAX_HIDDEN_RUNS; index++) {
    const unit = text.charCodeAt(index)
    if (unit < 0xd800 && tagLetters === 0 && selectors === 0) {
      previous = unit
      continue
    }
    const codePoint = text.codePointAt(index) ?? unit
    const tag = isTag(codePoint)
    const selector = isVariationSelector(codePoint)
    if (tag || selector) {
      if (tag ? tagLetters === 0 : selectors === 0) {
        close(index)
        start = index
        afterBlackFlag = previous === 0x1f3f4
      }
      if (tag) tagLetters++
      else selectors++
      // A flag names a region in at most six letters; more is a message that hides behind one.
      if (tagLetters > 6) afterBlackFlag = false
    } else {
      close(index)
    }
    previous = codePoint
    if (codePoint > 0xffff) index++
  }
  if (runs.length < MAX_HIDDEN_RUNS) close(text.length)
  return runs
}
