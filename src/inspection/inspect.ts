import { DependencyError } from '../errors.js'
import { isUntrusted } from '../segment.js'
import type { Segment } from '../segment.js'
import type { Detector, Hit } from './detector.js'
import { createControlTokensDetector } from './detectors/control-tokens.js'
import { createInjectionDetector } from './detectors/injection.js'
import { createPersonalDataDetector } from './detectors/personal-data.js'
import { createProhibitedDetector } from './detectors/prohibited.js'
import { createSecretsDetector } from './detectors/secrets.js'
import type { Finding } from './finding.js'
import { actionOf } from './rules.js'
import type { Action, InspectionRules } from './rules.js'
import { createView } from './view.js'

/** Findings that are kept of one request. The first that blocks decides; a record of thousands helps nobody. */
export const MAX_FINDINGS = 64

/** When to give up. */
export interface TimeBound {
  nowMs(): number
  readonly deadlineMs: number
}

export interface Inspector {
  /**
   * Reads every segment to its last character with every detector that is not off.
   *
   * @returns at most `MAX_FINDINGS`: those that block first, then flags, then shadows, each in the order of the text
   * @throws DependencyError the bound was reached; what was not read is not known to be good
   */
  inspect(segments: readonly Segment[], bound?: TimeBound): readonly Finding[]
}

const severity: Readonly<Record<Action, number>> = { block: 0, flag: 1, shadow: 2, off: 3 }

/** Builds the automata of the detectors that the rules turn on; costs a few milliseconds, once per policy. */
export function compileInspection(rules: InspectionRules): Inspector {
  const detectors = createDetectors(rules)
  return {
    inspect: (segments, bound) => {
      const kept = createKeeper(rules)
      segments.forEach((segment, index) => {
        const view = createView(segment.text)
        for (const detector of detectors) {
          if (bound !== undefined && bound.nowMs() >= bound.deadlineMs) {
            throw new DependencyError('inspection', 'inspection did not finish in time')
          }
          detector.detect(view, segment, (hit) => {
            if (!isSure(rules, detector, segment, hit)) return
            kept.add(detector.category, hit.rule, () => {
              const { rule, score, level, start, end } = hit
              const span =
                level === 'source' ? ([start, end] as const) : view.sourceSpan(level, start, end)
              const { category } = detector
              return { category, rule, provenance: segment.provenance, segment: index, span, score }
            })
          })
        }
      })
      return kept.findings()
    },
  }
}

/** One line per detector; one whose action is off is not built and costs nothing. */
function createDetectors(rules: InspectionRules): readonly Detector[] {
  const prohibited = rules.prohibited.filter((list) => list.action !== 'off')
  const { injection, controlTokens, secrets, personalData } = rules
  return [
    ...(injection.action === 'off' ? [] : [createInjectionDetector()]),
    ...(controlTokens.action === 'off' ? [] : [createControlTokensDetector()]),
    ...(secrets.action === 'off' ? [] : [createSecretsDetector()]),
    ...(personalData.action === 'off' ? [] : [createPersonalDataDetector(personalData.kinds)]),
    ...(prohibited.length === 0 ? [] : [createProhibitedDetector(prohibited)]),
  ]
}

function isSure(rules: InspectionRules, detector: Detector, segment: Segment, hit: Hit): boolean {
  if (detector.category !== 'injection') return true
  const { threshold, untrustedThreshold } = rules.injection
  return hit.score >= (isUntrusted(segment.provenance) ? untrustedThreshold : threshold)
}

/** Keeps the first findings of each action: a flood of flags must not push out the one that blocks. */
function createKeeper(rules: InspectionRules): {
  add: (category: Finding['category'], rule: string, make: () => Finding) => void
  findings: () => readonly Finding[]
} {
  const bySeverity: Finding[][] = [[], [], []]
  return {
    add: (category, rule, make) => {
      const kept = bySeverity[severity[actionOf(rules, category, rule)]]
      if (kept !== undefined && kept.length < MAX_FINDINGS) kept.push(make())
    },
    findings: () => bySeverity.flat().slice(0, MAX_FINDINGS),
  }
}
