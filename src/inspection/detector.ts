import type { Category } from './finding.js'
import type { Segment } from '../segment.js'
import type { Level, View } from './view.js'

/** What a detector saw: where in which form of the text. */
export interface Hit {
  /** From a closed list of the detector, or a name of the policy. */
  readonly rule: string
  /** `source`: offsets of the segment's own text. */
  readonly level: Level | 'source'
  /** UTF-16 offsets in that form, end exclusive. */
  readonly start: number
  readonly end: number
  /** How sure, 0 to 1. */
  readonly score: number
}

export type Report = (hit: Hit) => void

/**
 * Looks for one category of trouble. A new detector is one file in `detectors/` and one line in `inspect.ts`.
 *
 * It must be linear in the text whatever the text is, and hold no state between calls.
 */
export interface Detector {
  /** Its file in `detectors/`, and which of them where a file gives several. */
  readonly name: string
  readonly category: Category
  /** @returns how many steps it took, so that tests can prove it linear without a clock */
  detect(view: View, segment: Segment, report: Report): number
}
