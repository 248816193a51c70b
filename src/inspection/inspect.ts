import { deny } from '../denial.js'
import type { Denial } from '../denial.js'
import { DependencyError } from '../errors.js'
import { isUntrusted } from '../segment.js'
import type { Segment } from '../segment.js'
import { MIB_BYTES } from '../units.js'
import type { Detector, Hit } from './detector.js'
import { createControlTokensDetector } from './detectors/control-tokens.js'
import { createInjectionDetector, STRETCH_UNITS } from './detectors/injection.js'
import { createPersonalDataDetector } from './detectors/personal-data.js'
import { createProhibitedDetectors } from './detectors/prohibited.js'
import { createSecretsDetector } from './detectors/secrets.js'
import type { Finding } from './finding.js'
import { actionOf } from './rules.js'
import type { Action, InspectionRules } from './rules.js'
import { renderingsOf } from './renderings.js'
import { findSeams, placeInSeam } from './seams.js'
import { createView } from './view.js'

/** Findings that are kept of one request. The first that blocks decides; a record of thousands helps nobody. */
export const MAX_FINDINGS = 64

/**
 * How much is read at most, in all the ways in which the texts may come before a model: twice what they are, and of
 * smaller ones as much as twice the largest body that is usual. So inspecting takes at most some twice as long as it
 * takes for plain text. As they were sent they are always read.
 */
const MIN_READ_UNITS = 16 * MIB_BYTES

/** When to give up. */
export interface TimeBound {
  nowMs(): number
  readonly deadlineMs: number
}

export interface Inspector {
  /**
   * Reads every segment to its last character with every detector that is not off.
   *
   * @returns at most `MAX_FINDINGS`: those that block first, then flags, then shadows, each in the order of the text;
   *   or a refusal: the texts may come before a model in so many ways that reading all of them is too much
   * @throws DependencyError the bound was reached; what was not read is not known to be good
   */
  inspect(segments: readonly Segment[], bound?: TimeBound): readonly Finding[] | Denial
  /** The same in pieces, for whoever has to let others have their turn. */
  start(segments: readonly Segment[]): Inspecting
}

/** An inspection under way. */
export interface Inspecting {
  /**
   * Goes on until all is read, or until the bound; true when all is read. The clock is read between detectors, so a
   * piece may be longer by one detector's work on one text.
   */
  run(bound?: TimeBound): boolean
  /** What `inspect` returns, once `run` was true. */
  outcome(): readonly Finding[] | Denial
}

const severity: Readonly<Record<Action, number>> = { block: 0, flag: 1, shadow: 2, off: 3 }

/** Builds the automata of the detectors that the rules turn on; costs some milliseconds, once per policy. */
export function compileInspection(rules: InspectionRules): Inspector {
  const detectors = createDetectors(rules)

  /** Every detector on every text, one at each step; a refusal where that is too much. */
  function* steps(segments: readonly Segment[], kept: Keeper): Generator<void, Denial | undefined> {
    const ownUnits = segments.reduce((sum, { text }) => sum + text.length, 0)
    const budget = { units: 0, atMost: Math.max(MIN_READ_UNITS, 2 * ownUnits) }
    for (const [index, segment] of segments.entries()) {
      const refusal = yield* read(segment, budget, kept, (span) => ({ index, span }))
      if (refusal !== undefined) return refusal
    }
    for (const seam of segments.length > 1 ? findSeams(segments) : []) {
      const refusal = yield* read(seam.segment, budget, kept, (span, category, level) => {
        const place = placeInSeam(seam, span)
        // What lies in one segment was found there, but evidence may only add up over several.
        const addsUp = category === 'injection' && level !== 'source'
        return place.crosses || addsUp ? place : undefined
      })
      if (refusal !== undefined) return refusal
    }
    return undefined
  }

  function* read(
    segment: Segment,
    budget: { units: number; readonly atMost: number },
    kept: Keeper,
    placeOf: PlaceOf,
  ): Generator<void, Denial | undefined> {
    let isAsSent = true
    for (const rendering of renderingsOf(segment)) {
      budget.units += rendering.text.length
      if (!isAsSent && budget.units > budget.atMost) return tooManyWays
      isAsSent = false
      const view = createView(rendering.text)
      for (const detector of detectors) {
        yield
        const { category } = detector
        detector.detect(view, segment, (hit) => {
          if (!isSure(rules, detector, segment, hit)) return
          const action = actionOf(rules, category, hit.rule)
          kept.add(action, () => {
            const { rule, score, level, start, end } = hit
            const within =
              level === 'source' ? ([start, end] as const) : view.sourceSpan(level, start, end)
            const place = placeOf(rendering.sourceSpan(...within), category, level)
            if (place === undefined) return undefined
            const { provenance } = segment
            return {
              category,
              rule,
              provenance,
              segment: place.index,
              span: place.span,
              score,
              action,
            }
          })
        })
      }
    }
    return undefined
  }

  function start(segments: readonly Segment[]): Inspecting {
    const kept = createKeeper()
    const rest = steps(segments, kept)
    let refusal: Denial | undefined
    return {
      run(bound) {
        // The step first: a bound that is over already must not keep an inspection from ever going on.
        for (;;) {
          const step = rest.next()
          if (step.done === true) {
            refusal = step.value ?? refusal
            return true
          }
          if (bound !== undefined && bound.nowMs() >= bound.deadlineMs) return false
        }
      },
      outcome: () => refusal ?? kept.findings(),
    }
  }

  return {
    start,
    inspect(segments, bound) {
      const inspecting = start(segments)
      if (inspecting.run(bound)) return inspecting.outcome()
      throw inspectionTooSlow()
    },
  }
}

const tooManyWays = deny(
  'body_too_large',
  'The texts of this request are split or escaped so often that reading them all is too much. Send a smaller request.',
)

/** A bound that was reached is a failure, never a verdict. */
export function inspectionTooSlow(): DependencyError {
  return new DependencyError('inspection', 'inspection did not finish in time')
}

/** Where in the request a span lies; undefined where it was found already. */
type PlaceOf = (
  span: Finding['span'],
  category: Finding['category'],
  level: Hit['level'],
) => { readonly index: number; readonly span: Finding['span'] } | undefined

// What no rule changes is built once for all policies: the lexicon of injections alone takes 30 ms and more.
const injectionDetector = once(createInjectionDetector)
const controlTokensDetector = once(createControlTokensDetector)
const secretsDetector = once(createSecretsDetector)

function once(create: () => Detector): () => Detector {
  let created: Detector | undefined
  return () => (created ??= create())
}

/** One line per detector; one whose action is off is not built and costs nothing. */
export function createDetectors(rules: InspectionRules): readonly Detector[] {
  const prohibited = rules.prohibited.filter((list) => list.action !== 'off')
  const { injection, controlTokens, secrets, personalData } = rules
  return [
    ...(injection.action === 'off' ? [] : [injectionDetector()]),
    ...(controlTokens.action === 'off' ? [] : [controlTokensDetector()]),
    ...(secrets.action === 'off' ? [] : [secretsDetector()]),
    ...(personalData.action === 'off' ? [] : [createPersonalDataDetector(personalData.kinds)]),
    ...createProhibitedDetectors(prohibited),
  ]
}

function isSure(rules: InspectionRules, detector: Detector, segment: Segment, hit: Hit): boolean {
  if (detector.category !== 'injection') return true
  const { threshold, untrustedThreshold } = rules.injection
  return hit.score >= (isUntrusted(segment.provenance) ? untrustedThreshold : threshold)
}

interface Keeper {
  add(action: Action, make: () => Finding | undefined): void
  findings(): readonly Finding[]
}

/**
 * Keeps the first findings of each action: a flood of flags must not push out the one that blocks. What is found
 * in several renderings, or again in a seam, is kept once.
 */
function createKeeper(): Keeper {
  const bySeverity: Finding[][] = [[], [], []]
  return {
    add: (action, make) => {
      const kept = bySeverity[severity[action]]
      if (kept === undefined || kept.length >= MAX_FINDINGS) return
      const finding = make()
      if (finding === undefined || kept.some((known) => isSame(known, finding))) return
      kept.push(finding)
    },
    findings: () => bySeverity.flat().slice(0, MAX_FINDINGS),
  }
}

/** Do both tell of one stretch of text? The first tells enough. */
function isSame(one: Finding, other: Finding): boolean {
  if (one.segment !== other.segment || one.category !== other.category) return false
  const isInjection = one.category === 'injection'
  if (one.rule !== other.rule && !isInjection) return false
  const gapUnits = isInjection ? STRETCH_UNITS : 0
  return one.span[0] < other.span[1] + gapUnits && other.span[0] < one.span[1] + gapUnits
}
