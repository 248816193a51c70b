import type { Joints, Segment } from '../segment.js'

/** One way in which the text of a segment may come before the model. */
export interface Rendering {
  readonly text: string
  /** The part of the segment's own text that `[start, end)` was made of. */
  sourceSpan(start: number, end: number): readonly [start: number, end: number]
}

/** JSON may hold JSON, as the answers of tools do; what lies deeper is not undone. */
const MAX_ESCAPE_LEVELS = 2

/**
 * The text as it is; without what was put between its parts, since some templates print nothing there; and each of
 * the two without its escapes, since a model reads `\nIgnore` as a line break and a word, and a template may print
 * it so. At most six, and mostly one: a text of one part without a backslash is read once. Each is the whole text:
 * what is looked for may go on far from the escape or joint that it begins with. And none stands for another: what
 * the next level undoes may break what this one shows.
 */
export function* renderingsOf({ text, joints = [] }: Segment): Iterable<Rendering> {
  const asSent: Rendering = { text, sourceSpan: (start, end) => [start, end] }
  let level = joints.length === 0 ? [asSent] : [asSent, withoutJoints(asSent, joints)]
  yield* level
  for (let depth = 0; depth < MAX_ESCAPE_LEVELS; depth++) {
    level = level.map(withoutEscapes).filter((rendering) => rendering !== undefined)
    yield* level
  }
}

function withoutJoints({ text }: Rendering, joints: Joints): Rendering {
  const parts: string[] = []
  let from = 0
  for (const joint of joints) {
    parts.push(text.slice(from, joint))
    from = joint + 1
  }
  parts.push(text.slice(from))
  const sourceOf = (offset: number): number => offset + jointsUpTo(joints, offset)
  return {
    text: parts.join(''),
    // To the end of its last unit: a joint behind it is no part of the span.
    sourceSpan: (start, end) => [
      sourceOf(start),
      end > start ? sourceOf(end - 1) + 1 : sourceOf(start),
    ],
  }
}

/** How many joints stood before the unit that is at `offset` without them. By halves: a text may have thousands. */
function jointsUpTo(joints: Joints, offset: number): number {
  let low = 0
  let high = joints.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((joints[middle] ?? 0) - middle <= offset) low = middle + 1
    else high = middle
  }
  return low
}

// Those of JSON, and the few more of Python and JavaScript. No two ways to match: linear.
const ESCAPE = /\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(["'\\/bfnrtv]))/g

const controls = new Map(Object.entries({ b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' }))

type Groups = [unicode?: string, byte?: string, letter?: string]

/**
 * Not a parser: what is no escape stays as it is, so nothing can be hidden by making a text invalid.
 *
 * @returns undefined where the text has no escape
 */
function withoutEscapes(from: Rendering): Rendering | undefined {
  if (!from.text.includes('\\')) return undefined
  const text = from.text.replace(ESCAPE, (_, ...[unicode, byte, letter = '']: Groups) => {
    const hex = unicode ?? byte
    if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16))
    return controls.get(letter) ?? letter
  })
  if (text.length === from.text.length) return undefined
  // Made when something was found: most texts need none.
  let offsets: Uint32Array | undefined
  return {
    text,
    sourceSpan: (start, end) => {
      offsets ??= offsetsWithoutEscapes(from.text, text.length)
      return from.sourceSpan(offsets[start] ?? 0, offsets[end] ?? 0)
    },
  }
}

/** For each unit of the text without escapes, and for its end, the offset where it came from. */
function offsetsWithoutEscapes(text: string, length: number): Uint32Array {
  const offsets = new Uint32Array(length + 1)
  let at = 0
  let from = 0
  const copyTo = (end: number): void => {
    while (from < end) offsets[at++] = from++
  }
  for (const escape of text.matchAll(ESCAPE)) {
    copyTo(escape.index)
    offsets[at++] = from
    from += escape[0].length
  }
  copyTo(text.length)
  offsets[at] = text.length
  return offsets
}
