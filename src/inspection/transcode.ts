import { DROP, EXPAND, isMark, isWordUnit } from './fold.js'
import type { FoldTable } from './fold.js'
import { isTag } from './hidden-text.js'

const SPACE = 0x20
/** Below it every unit becomes one unit or none, and composes with nothing. */
const ASCII_END = 0x80
/** A tag character is this plus the ASCII character that it stands for. */
const TAG_BLOCK = 0xe0000

/** Most units that one character adds: its expansion and a space before it. */
const MAX_STEP_UNITS = 8

/**
 * One pass over the text. Each unit costs a table look-up; a mark is composed with the unit before it, two at a
 * time. `map[k]` is the source offset of unit k of the form, with one entry more for the end; empty unless asked
 * for.
 */
export function transcode(
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
      if (isMark(mapped) || mayCompose(mapped)) at = append(out, at, mapped, table)
      else out[at++] = mapped
    } else if (expansion === undefined) {
      if (!table.dropsMarks || !isMark(codePoint) || takesMarks(out[at - 1])) {
        out[at++] = unit
        out[at++] = text.charCodeAt(index)
      }
    } else {
      for (let k = 0; k < expansion.length; k++) {
        at = append(out, at, expansion.charCodeAt(k), table)
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

/** Writes one unit, or composes it with the one before, or leaves it out. @returns where the next one goes */
function append(out: Uint16Array, at: number, unit: number, table: FoldTable): number {
  const before = out[at - 1]
  if (table.dropsMarks && isMark(unit) && !takesMarks(before)) return at
  if (before !== undefined && mayCompose(unit)) {
    const composed = compose(before, unit, table)
    if (composed !== 0) {
      out[at - 1] = composed
      return at
    }
  }
  out[at] = unit
  return at + 1
}

/** Below it are Latin, Greek, Cyrillic and signs: what still stands over those is there to hide them. */
const FIRST_SCRIPT_WITH_MARKS = 0x0530

function takesMarks(unit: number | undefined): boolean {
  return unit !== undefined && unit >= FIRST_SCRIPT_WITH_MARKS && isWordUnit(unit)
}

/** Marks and the later letters of a Hangul syllable: the only units that compose with the one before. */
function mayCompose(unit: number): boolean {
  if (unit < 0x0300 || unit > 0x309a) return false
  return (
    unit <= 0x036f ||
    (unit >= 0x0653 && unit <= 0x0655) ||
    (unit >= 0x093c && unit <= 0x0ddf && composingIndic.has(unit)) ||
    unit === 0x102e ||
    unit === 0x1b35 ||
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
  // A plain copy. It holds on little-endian machines, which x86-64 and ARM64 are under every system that runs Envoy.
  return Buffer.from(units.buffer, units.byteOffset, units.byteLength).toString('utf16le')
}
