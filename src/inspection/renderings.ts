import type { Joints, Segment } from '../segment.js'
import { REACH_UNITS } from './seams.js'

/** One way in which the text of a segment, or a stretch of it, may come before the model. */
export interface Rendering {
  readonly text: string
  /** The part of the segment's own text that `[start, end)` was made of. */
  sourceSpan(start: number, end: number): readonly [start: number, end: number]
  /** Which ends of the text are none of the segment's: it goes on there in a way that was read before. */
  readonly cut: { readonly start: boolean; readonly end: boolean }
}

/** JSON may hold JSON, as the answers of tools do; what lies deeper is not undone. */
const MAX_ESCAPE_LEVELS = 2

/**
 * The text as it is; without what was put between its parts, since some templates print nothing there; and each of
 * the two without its escapes, since a model reads `\nIgnore` as a line break and a word, and a template may print
 * it so. Mostly one: a text of one part without a backslash is read once. Of the others only what lies near a change
 * is read: the rest says nothing new.
 */
export function* renderingsOf({ text, joints = [] }: Segment): Iterable<Rendering> {
  const asSent: Rendering = {
    text,
    sourceSpan: (start, end) => [start, end],
    cut: { start: false, end: false },
  }
  yield asSent
  yield* withoutEscapes(asSent)
  if (joints.length === 0) return
  for (const excerpt of excerptsOf(withoutJoints(asSent, joints))) {
    yield excerpt
    yield* withoutEscapes(excerpt)
  }
}

/**
 * Was `[start, end)` found only because the text is cut there? Half a word or half a number can look like a whole
 * one. What is found near a cut and is real lies far from any change, and was found where the text is whole.
 */
export function isCutOff({ text, cut }: Rendering, start: number, end: number): boolean {
  return (
    (cut.start && start === 0 && end < REACH_UNITS) ||
    (cut.end && end === text.length && start > text.length - REACH_UNITS)
  )
}

/** A whole text that was changed, and where: stretches of it in order, apart from each other. */
interface Changed {
  readonly rendering: Rendering
  readonly stretches: readonly Stretch[]
}

type Stretch = readonly [start: number, end: number]

function* excerptsOf({ rendering, stretches }: Changed): Iterable<Rendering> {
  for (const [from, to] of stretches) {
    yield {
      text: rendering.text.slice(from, to),
      sourceSpan: (start, end) => rendering.sourceSpan(from + start, from + end),
      cut: {
        start: from > 0 || rendering.cut.start,
        end: to < rendering.text.length || rendering.cut.end,
      },
    }
  }
}

/** Gathers the surroundings of changes, told in order. */
function startStretches(): { add(at: number): void; upTo(length: number): readonly Stretch[] } {
  const starts: number[] = []
  const ends: number[] = []
  return {
    add(at) {
      const last = ends.length - 1
      if (last >= 0 && (ends[last] ?? 0) >= at - REACH_UNITS) ends[last] = at + REACH_UNITS
      else {
        starts.push(Math.max(0, at - REACH_UNITS))
        ends.push(at + REACH_UNITS)
      }
    },
    upTo: (length) =>
      starts.map((start, index) => [start, Math.min(length, ends[index] ?? length)] as const),
  }
}

function withoutJoints({ text, cut }: Rendering, joints: Joints): Changed {
  const parts: string[] = []
  const stretches = startStretches()
  let from = 0
  for (const [index, joint] of joints.entries()) {
    parts.push(text.slice(from, joint))
    stretches.add(joint - index)
    from = joint + 1
  }
  parts.push(text.slice(from))
  const joined = parts.join('')
  const sourceOf = (offset: number): number => offset + jointsUpTo(joints, offset)
  return {
    rendering: {
      text: joined,
      // To the end of its last unit: a joint behind it is no part of the span.
      sourceSpan: (start, end) => [
        sourceOf(start),
        end > start ? sourceOf(end - 1) + 1 : sourceOf(start),
      ],
      cut,
    },
    stretches: stretches.upTo(joined.length),
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

/** Level by level, near the escapes that each level undid. */
function* withoutEscapes(from: Rendering): Iterable<Rendering> {
  let rendering = from
  for (let level = 0; level < MAX_ESCAPE_LEVELS; level++) {
    const changed = undoEscapes(rendering)
    if (changed === undefined) return
    yield* excerptsOf(changed)
    rendering = changed.rendering
  }
}

/**
 * Not a parser: what is no escape stays as it is, so nothing can be hidden by making a text invalid.
 *
 * @returns undefined where the text has no escape
 */
function undoEscapes(from: Rendering): Changed | undefined {
  if (!from.text.includes('\\')) return undefined
  const stretches = startStretches()
  let saved = 0
  const text = from.text.replace(
    ESCAPE,
    (
      escape: string,
      unicode: string | undefined,
      byte: string | undefined,
      letter: string,
      at: number,
    ) => {
      stretches.add(at - saved)
      saved += escape.length - 1
      const hex = unicode ?? byte
      if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16))
      return controls.get(letter) ?? letter
    },
  )
  if (saved === 0) return undefined
  // Made when something was found: most texts need none.
  let offsets: Uint32Array | undefined
  return {
    rendering: {
      text,
      sourceSpan: (start, end) => {
        offsets ??= offsetsWithoutEscapes(from.text, text.length)
        return from.sourceSpan(offsets[start] ?? 0, offsets[end] ?? 0)
      },
      cut: from.cut,
    },
    stretches: stretches.upTo(text.length),
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
