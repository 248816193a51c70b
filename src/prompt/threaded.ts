import { isDenial } from '../denial.js'
import type { Denial } from '../denial.js'
import { DependencyError } from '../errors.js'
import type { Finding } from '../inspection/finding.js'
import type { InspectionRules } from '../inspection/rules.js'
import type { WorkerAnswer } from './messages.js'
import type { HeldPrompt, Pool } from './pool.js'
import type { ArrivedPrompt, OpenPrompt } from './prompt.js'

/** Works on prompts in the threads of a pool. */
export interface ThreadedReader {
  open(arrived: ArrivedPrompt): Promise<OpenPrompt | Denial>
  /** For a prompt that is open elsewhere. */
  inspect(arrived: ArrivedPrompt, rules: InspectionRules): Promise<readonly Finding[] | Denial>
}

export function createThreadedReader(pool: Pool): ThreadedReader {
  const rulesIds = new WeakMap<InspectionRules, number>()
  let nextRulesId = 1

  function rulesIdOf(rules: InspectionRules): number {
    let id = rulesIds.get(rules)
    if (id === undefined) {
      id = nextRulesId++
      rulesIds.set(rules, id)
    }
    return id
  }

  function hold({ dialect, path, body, principal, signal }: ArrivedPrompt): HeldPrompt | Denial {
    // Two callers never have one key: a name with a quote or comma in it is escaped.
    const caller = JSON.stringify([principal.tenant, principal.subject])
    return pool.hold({ dialect: dialect.name, path, body }, caller, signal)
  }

  async function inspectHeld(
    held: HeldPrompt,
    rules: InspectionRules,
  ): Promise<readonly Finding[] | Denial> {
    const answer = await held.run({ kind: 'inspect', rulesId: rulesIdOf(rules), rules })
    if (answer.kind === 'refused') return answer.denial
    if (answer.kind !== 'inspected') throw unexpected('inspection', answer)
    return answer.findings
  }

  return {
    async open(arrived) {
      const held = hold(arrived)
      if (isDenial(held)) return held
      try {
        const answer = await held.run({ kind: 'read' })
        if (answer.kind === 'refused') {
          held.close()
          return answer.denial
        }
        if (answer.kind !== 'read') throw unexpected('reading', answer)
        const { summary } = answer
        return {
          ask: summary,
          inspect: (rules) => inspectHeld(held, rules),
          async countTokens(encoding) {
            try {
              const counted = await held.run({ kind: 'count', encoding })
              // Every token covers at least one byte of the text, so the bytes are an upper bound.
              return counted.kind === 'counted' ? counted.tokens : summary.segmentBytes
            } catch (error) {
              if (error instanceof DependencyError) return summary.segmentBytes
              throw error
            }
          },
          close() {
            held.close()
          },
        }
      } catch (error) {
        held.close()
        throw error
      }
    },
    async inspect(arrived, rules) {
      const held = hold(arrived)
      if (isDenial(held)) return held
      try {
        return await inspectHeld(held, rules)
      } finally {
        held.close()
      }
    },
  }
}

function unexpected(work: string, answer: WorkerAnswer): DependencyError {
  const what = answer.kind === 'failed' ? answer.errorName : answer.kind
  return new DependencyError('inspection', `${work} of a large prompt failed: ${what}`)
}
