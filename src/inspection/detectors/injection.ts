import type { Detector, Hit, Report } from '../detector.js'
import { compilePhrases } from '../phrases.js'
import { lexicon } from './injection-lexicon.js'
import type { Meaning } from './injection-lexicon.js'
import { findTurnMarks, sequenceRules } from './injection-rules.js'
import type { InjectionRule } from './injection-rules.js'

/** Evidence counts together within this many units of the folded form, about a page, and gives one finding. */
export const STRETCH_UNITS = 2000
/** Text that was hidden from the reader is an attack whatever it says. */
const HIDDEN_WEIGHT = 0.95

interface Evidence {
  /** Evidence of one key counts once. */
  readonly key: number
  readonly rule: InjectionRule
  readonly weight: number
  readonly level: Hit['level']
  readonly start: number
  readonly end: number
}

/**
 * Text that tries to set aside, hijack or extract instructions: words of the lexicon in the orders of the rules,
 * marks that forge a turn, and text hidden in invisible characters. Pieces of evidence near each other add up
 * (score = 1 - product of the doubts, the strongest of each rule); one stretch of text gives one finding.
 */
export function createInjectionDetector(): Detector {
  const meanings = Object.keys(lexicon) as Meaning[]
  const meaningOf: Meaning[] = []
  const phrases: string[] = []
  for (const meaning of meanings) {
    for (const phrase of lexicon[meaning]) {
      phrases.push(phrase)
      meaningOf.push(meaning)
    }
  }
  const matcher = compilePhrases(phrases, { lookAlikeDigits: true })
  return {
    name: 'injection',
    category: 'injection',
    detect: (view, _segment, report) => {
      const folded = view.folded
      const tally = createTally(report)
      for (const run of view.hidden) {
        const [start, end] = run.span
        report({ rule: 'hidden_text', level: 'source', start, end, score: HIDDEN_WEIGHT })
      }
      const sequences = createSequences(tally.add)
      const wordSteps = matcher.scan(folded, (phrase, start, end) => {
        const meaning = meaningOf[phrase]
        if (meaning !== undefined) sequences({ meaning, phrase, start, end })
      })
      const markSteps = findTurnMarks(folded, ({ number, weight }, start, end) => {
        tally.add({ key: -1 - number, rule: 'fake_turn', weight, level: 'folded', start, end })
      })
      tally.finish()
      return wordSteps + markSteps
    },
  }
}

/** A phrase of the lexicon, where it was found. */
interface Word {
  readonly meaning: Meaning
  readonly phrase: number
  readonly start: number
  readonly end: number
}

interface Reached {
  start: number
  end: number
}

const rulesByMeaning: ReadonlyMap<Meaning, readonly { rule: number; step: number }[]> = (() => {
  const table = new Map<Meaning, { rule: number; step: number }[]>()
  sequenceRules.forEach(({ steps }, rule) => {
    steps.forEach((meaning, step) => {
      const uses = table.get(meaning) ?? []
      // The last step first: one word must not be two steps of a rule.
      uses.unshift({ rule, step })
      table.set(meaning, uses)
    })
  })
  return table
})()

/** Follows all rules at once. For each step of each rule only the last place counts: it has the smallest gap. */
function createSequences(add: (evidence: Evidence) => void): (word: Word) => void {
  const reached = sequenceRules.map(({ steps }) =>
    steps.map((): Reached => ({ start: 0, end: Number.NEGATIVE_INFINITY })),
  )
  return ({ meaning, phrase, start, end }) => {
    for (const { rule, step } of rulesByMeaning.get(meaning) ?? []) {
      const sequence = sequenceRules[rule]
      const place = reached[rule]?.[step]
      if (sequence === undefined || place === undefined) continue
      let from = start
      if (step > 0) {
        const before = reached[rule]?.[step - 1]
        if (before === undefined || before.end > start) continue
        if (start - before.end > sequence.gapUnits) continue
        from = before.start
      }
      place.start = from
      place.end = end
      if (step < sequence.steps.length - 1) continue
      const { rule: name, weight } = sequence
      const key = sequence.steps.length === 1 ? sequenceRules.length + phrase : rule
      add({ key, rule: name, weight, level: 'folded', start: from, end })
    }
  }
}

/**
 * Adds evidence up and reports the peak of each stretch. Each rule counts once, where it was seen last; a rule of
 * one step once for each phrase. Evidence leaves when the window has moved past it.
 */
function createTally(report: Report): { add: (evidence: Evidence) => void; finish: () => void } {
  const held = new Map<number, Evidence>()
  const queue: Evidence[] = []
  let oldest = 0
  let logDoubt = 0
  let peak: Hit | undefined
  let lead: Evidence | undefined
  const drop = (evidence: Evidence): void => {
    if (held.get(evidence.key) !== evidence) return
    held.delete(evidence.key)
    logDoubt -= Math.log1p(-evidence.weight)
    if (lead === evidence) lead = undefined
  }
  const add = (evidence: Evidence): void => {
    if (peak !== undefined && evidence.start - peak.end > STRETCH_UNITS) finish()
    for (; oldest < queue.length; oldest++) {
      const first = queue[oldest]
      if (first === undefined || evidence.start - first.end <= STRETCH_UNITS) break
      drop(first)
    }
    const same = held.get(evidence.key)
    if (same !== undefined) drop(same)
    held.set(evidence.key, evidence)
    queue.push(evidence)
    logDoubt += Math.log1p(-evidence.weight)
    if (lead === undefined || lead.weight <= evidence.weight) lead = evidence
    const score = -Math.expm1(logDoubt)
    if (peak !== undefined && peak.score >= score) return
    const { rule, level, start, end } = lead
    peak = { rule, level, start, end, score }
  }
  const finish = (): void => {
    if (peak !== undefined) report(peak)
    peak = undefined
  }
  return { add, finish }
}
