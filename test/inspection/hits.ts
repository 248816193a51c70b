import { isDenial } from '../../src/denial.js'
import type { Denial } from '../../src/denial.js'
import type { Finding } from '../../src/inspection/finding.js'
import type { Detector, Hit } from '../../src/inspection/detector.js'
import { createView } from '../../src/inspection/view.js'
import type { Provenance } from '../../src/segment.js'

export interface SeenHit extends Hit {
  /** Where it points to in the segment's own text. */
  readonly span: readonly [start: number, end: number]
  /** What stands there. */
  readonly text: string
}

/** Runs one detector over one text. */
export function hitsOf(
  detector: Detector,
  text: string,
  provenance: Provenance = 'user',
): readonly SeenHit[] {
  const view = createView(text)
  const hits: SeenHit[] = []
  detector.detect(view, { provenance, text }, (hit) => {
    const { level, start, end } = hit
    const span = level === 'source' ? ([start, end] as const) : view.sourceSpan(level, start, end)
    hits.push({ ...hit, span, text: text.slice(...span) })
  })
  return hits
}

/** `rule` of each hit. */
export function rulesOf(detector: Detector, text: string): readonly string[] {
  return hitsOf(detector, text).map(({ rule }) => rule)
}

/** The steps that a detector takes over a text. */
export function stepsOf(detector: Detector, text: string): number {
  return detector.detect(createView(text), { provenance: 'user', text }, () => undefined)
}

/** What was found; a text that is refused as too much to read is none of these tests'. */
export function findingsOf(answer: readonly Finding[] | Denial): readonly Finding[] {
  if (isDenial(answer)) throw new Error(answer.message)
  return answer
}
