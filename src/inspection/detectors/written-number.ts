import { isDigit } from './ascii.js'

/** Longest group of any number that is looked for; after a longer one nothing goes on. */
const MAX_GROUP_LENGTH = 19
/** `4,4,4,4,3` is the longest shape that is looked for. */
const MAX_GROUPS = 5

/** Groups of digits with a space, hyphen or full stop between them, as numbers are written. */
export interface WrittenNumber {
  readonly start: number
  /** Offset after each group, 1 to `MAX_GROUPS` of them. */
  readonly ends: readonly number[]
  /** What `shapeOf` gives for the first group, the first two, ... */
  readonly shapes: readonly number[]
}

/** How far one attempt to read something came. */
export interface Read {
  /** Units that it looked at. */
  readonly steps: number
  /** Offset after what was found; up to there nothing else begins. */
  readonly readTo: number
}

/** One number for the lengths of groups, each below 32: `shapeOf(4, 6, 5)`. */
export function shapeOf(...lengths: readonly number[]): number {
  return lengths.reduce((shape, length) => shape * 32 + length, 0)
}

/** @param start offset of a digit that no digit precedes */
export function readGroups(text: string, start: number): WrittenNumber {
  const ends: number[] = []
  const shapes: number[] = []
  let shape = 0
  let from = start
  for (;;) {
    let end = from
    while (isDigit(text.charCodeAt(end))) end++
    const length = Math.min(end - from, MAX_GROUP_LENGTH + 1)
    shape = shape * 32 + length
    ends.push(end)
    shapes.push(shape)
    if (length > MAX_GROUP_LENGTH || ends.length === MAX_GROUPS) break
    if (ends.length === 1 && !maySplitAfter(length)) break
    if (!isSeparator(text.charCodeAt(end)) || !isDigit(text.charCodeAt(end + 1))) break
    from = end + 1
  }
  return { start, ends, shapes }
}

/** The digits of the first `count` groups, without separators. */
export function digitsOf(text: string, number: WrittenNumber, count: number): string {
  let digits = ''
  let from = number.start
  for (let group = 0; group < count; group++) {
    const end = number.ends[group] ?? from
    digits += text.slice(from, end)
    from = end + 1
  }
  return digits
}

/** Is the same separator between all of the first `count` groups? */
export function hasOneSeparator(text: string, number: WrittenNumber, count: number): boolean {
  const first = text.charCodeAt(number.ends[0] ?? 0)
  for (let group = 1; group < count - 1; group++) {
    if (text.charCodeAt(number.ends[group] ?? 0) !== first) return false
  }
  return true
}

/** First groups of the shapes that have several: 1 212 555, 123-45, 4111 1111, 6,13. */
function maySplitAfter(length: number): boolean {
  return length === 1 || length === 3 || length === 4 || length === 6
}

function isSeparator(unit: number): boolean {
  return unit === 0x20 || unit === 0x2e || isDash(unit)
}

/** The hyphen of keyboards, and those that programs make of it: U+2010 to U+2015, the minus sign. */
export function isDash(unit: number): boolean {
  return unit === 0x2d || (unit >= 0x2010 && unit <= 0x2015) || unit === 0x2212
}
