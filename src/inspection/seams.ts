import { JOINT } from '../segment.js'
import type { Joints, Segment } from '../segment.js'

/** How much of each side of a boundary is read again: longer than any phrase with its gaps. */
const REACH_UNITS = 512

/** A text that lies in no segment alone: the end of one, whole short ones, the beginning of another. */
export interface Seam {
  readonly segment: Segment
  readonly pieces: readonly Piece[]
}

interface Piece {
  /** Index of the segment it was taken from. */
  readonly index: number
  /** Offset in the seam's text. */
  readonly start: number
  readonly end: number
  /** Offset in the segment's text of the piece's first unit. */
  readonly from: number
}

/**
 * The seams between neighbours of the same provenance: an instruction cut in two parts of a message is whole for
 * the model. Only text that a caller or a stranger wrote is joined; every character is in at most two seams.
 */
export function findSeams(segments: readonly Segment[]): readonly Seam[] {
  const seams: Seam[] = []
  let open: Draft | undefined
  const close = (): void => {
    if (open !== undefined && open.pieces.length > 1) {
      const { provenance, text, joints, pieces } = open
      seams.push({ segment: { provenance, text, joints }, pieces })
    }
    open = undefined
  }
  segments.forEach((segment, index) => {
    const { provenance, text } = segment
    if (!isJoined(provenance)) {
      close()
      return
    }
    if (open?.provenance !== provenance) close()
    open ??= startDraft(provenance)
    if (text.length <= 2 * REACH_UNITS) {
      append(open, index, segment, 0, text.length)
      return
    }
    // A long segment ends one seam with its head and begins the next with its tail.
    append(open, index, segment, 0, REACH_UNITS)
    close()
    open = startDraft(provenance)
    append(open, index, segment, text.length - REACH_UNITS, text.length)
  })
  close()
  return seams
}

interface Draft {
  readonly provenance: Segment['provenance']
  text: string
  readonly joints: number[]
  readonly pieces: Piece[]
}

function startDraft(provenance: Segment['provenance']): Draft {
  return { provenance, text: '', joints: [], pieces: [] }
}

/** Adds `[from, to)` of a segment, with the joints that it has of its own. */
function append(draft: Draft, index: number, segment: Segment, from: number, to: number): void {
  if (draft.pieces.length > 0) {
    draft.joints.push(draft.text.length)
    draft.text += JOINT
  }
  const start = draft.text.length
  for (const joint of segment.joints ?? noJoints) {
    if (joint >= from && joint < to) draft.joints.push(start + joint - from)
  }
  draft.text += segment.text.slice(from, to)
  draft.pieces.push({ index, start, end: draft.text.length, from })
}

const noJoints: Joints = []

function isJoined(provenance: Segment['provenance']): boolean {
  return provenance === 'user' || provenance === 'tool' || provenance === 'document'
}

/** A span of a seam, in the segment that it begins in. */
export interface Place {
  readonly index: number
  readonly span: readonly [start: number, end: number]
  /** It goes on in the next segment; the span ends with this one. */
  readonly crosses: boolean
}

export function placeInSeam(seam: Seam, [start, end]: readonly [number, number]): Place {
  const { pieces } = seam
  // The first piece that ends after `start`, by halves: a seam may have a piece for each of many thousand segments.
  let low = 0
  let high = pieces.length - 1
  while (low < high) {
    const middle = (low + high) >> 1
    if (start < (pieces[middle]?.end ?? 0)) high = middle
    else low = middle + 1
  }
  const piece = pieces[low] ?? { index: 0, start: 0, end: 0, from: 0 }
  const within = (offset: number): number =>
    piece.from + Math.min(Math.max(offset, piece.start), piece.end) - piece.start
  return { index: piece.index, span: [within(start), within(end)], crosses: end > piece.end }
}
