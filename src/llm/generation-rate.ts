import type { DialectName } from './ask.js'

/** Which reports are alike: a streamed answer has other bytes per token than one JSON document. */
export interface GenerationKind {
  /** Name of the model as in the policy, at most some hundred of them. */
  readonly model: string
  readonly dialect: DialectName
  readonly stream: boolean
}

/** What is seen of an answer from outside: bytes of its body, and how long the request took. */
export interface GenerationTrace {
  readonly bytes: number
  readonly durationMs: number
}

export interface GenerationRates {
  /** Learns from a report that told its output tokens. Reports without output, bytes or duration teach nothing. */
  observe(kind: GenerationKind, report: GenerationTrace & { readonly outputTokens: number }): void
  /** Output tokens, rounded up, of an answer whose report told none; undefined before 20 of its kind were observed. */
  estimate(kind: GenerationKind, trace: GenerationTrace): number | undefined
}

const minReports = 20
const rememberedReports = 64
const maxKinds = 1024

interface Learned {
  /** Rings of the last reports, oldest overwritten first. */
  readonly tokensPerByte: number[]
  readonly tokensPerMs: number[]
  reports: number
}

/**
 * What an answer cut short has probably cost: the larger of its bytes and its duration, each at the highest
 * rate among the last 64 reports of the same kind. Highest and not mean, as the caller decides when to leave:
 * whoever leaves where the mean is short would have the difference for nothing. The caller of `estimate`
 * bounds it by the reservation.
 *
 * Holds 1,024 kinds; the one that was observed longest ago goes first.
 */
export function createGenerationRates(): GenerationRates {
  const kinds = new Map<string, Learned>()

  return {
    observe(kind, { outputTokens, bytes, durationMs }) {
      if (!isPositive(outputTokens) || !isPositive(bytes) || !isPositive(durationMs)) return
      const key = keyOf(kind)
      const learned = kinds.get(key) ?? { tokensPerByte: [], tokensPerMs: [], reports: 0 }
      const slot = learned.reports % rememberedReports
      learned.tokensPerByte[slot] = outputTokens / bytes
      learned.tokensPerMs[slot] = outputTokens / durationMs
      learned.reports += 1
      // A map keeps the order of insertion: what is set again moves to the young end.
      kinds.delete(key)
      kinds.set(key, learned)
      if (kinds.size > maxKinds) {
        const oldest = kinds.keys().next()
        if (oldest.done !== true) kinds.delete(oldest.value)
      }
    },

    estimate(kind, { bytes, durationMs }) {
      const learned = kinds.get(keyOf(kind))
      if (learned === undefined || learned.reports < minReports) return undefined
      const byBytes = Math.max(0, bytes) * Math.max(...learned.tokensPerByte)
      const byDuration = Math.max(0, durationMs) * Math.max(...learned.tokensPerMs)
      return Math.ceil(Math.max(byBytes, byDuration))
    },
  }
}

function isPositive(value: number): boolean {
  return Number.isFinite(value) && value > 0
}

/** The model comes last, so that no name can be spelt to look like another key. */
function keyOf(kind: GenerationKind): string {
  return `${kind.dialect} ${kind.stream ? 'streamed' : 'whole'} ${kind.model}`
}
