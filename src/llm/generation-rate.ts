/** Which reports are alike: a streamed answer has other bytes per token than one JSON document. */
export interface GenerationKind {
  /** Name of the model as in the policy, at most some hundred of them. */
  readonly model: string
  readonly dialect: string
  readonly stream: boolean
}

/** What is seen of an answer from outside: bytes of its body, and how long the request took. */
export interface GenerationTrace {
  readonly bytes: number
  readonly durationMs: number
}

export interface GenerationRates {
  /**
   * Learns from the report of one whole answer to an ordinary request. One of fewer than 64 output tokens, or
   * without bytes, teaches nothing; one without a duration nothing about time.
   *
   * @param report `durationMs`: how long the engine took, where that is known; `heldUp`: its client may have held it
   *   up, so it was that fast at least
   */
  observe(
    kind: GenerationKind,
    report: {
      readonly bytes: number
      readonly durationMs: number | undefined
      readonly heldUp: boolean
      readonly outputTokens: number
    },
  ): void
  /**
   * Output tokens, rounded up, of an answer whose report told none; undefined until 20 reports whose duration no
   * client can have stretched, and 10,000 output tokens, of its kind were learnt from.
   *
   * @param trace `choices` is how many candidates the engine decoded at once
   */
  estimate(
    kind: GenerationKind,
    trace: GenerationTrace & { readonly choices: number },
  ): number | undefined
}

/** What comes before the first token and around the last takes a large part of a shorter answer. */
const minReportTokens = 64
const minReports = 20
const minTokens = 10_000
const maxKinds = 1024

/** A span of reports is full when it has so many, and so many output tokens. */
const spanReports = 64
const spanTokens = 1_000_000

/** The highest rates of some reports that came one after the other. */
interface Span {
  reports: number
  outputTokens: number
  tokensPerByte: number
  tokensPerMs: number
}

interface Learned {
  /** Of all spans, those with a duration that no client can have stretched. */
  timedReports: number
  outputTokens: number
  younger: Span
  older: Span
}

/**
 * What an answer cut short has probably cost: the larger of its bytes and its duration, each at the highest
 * rate among the last reports of the same kind. The rates are those of one choice: several share the bytes, but
 * each of them decodes the whole time. Highest and not mean, as the caller decides when to leave:
 * whoever leaves where the mean is short would have the difference for nothing. The caller of `estimate`
 * bounds it by the reservation.
 *
 * Remembered are the last 64 reports at least, and as many more as 1,000,000 output tokens take: were it a number
 * of reports alone, 64 short and slow answers would make the next long one nearly free. So a caller who wants the
 * rates to be forgotten has to pay for a million tokens first.
 *
 * Holds 1,024 kinds; the one that was observed longest ago goes first.
 */
export function createGenerationRates(): GenerationRates {
  const kinds = new Map<string, Learned>()

  return {
    observe(kind, { outputTokens, bytes, durationMs, heldUp }) {
      if (!(outputTokens >= minReportTokens) || !isPositive(bytes)) return
      const key = keyOf(kind)
      const learned = kinds.get(key) ?? {
        timedReports: 0,
        outputTokens: 0,
        younger: emptySpan(),
        older: emptySpan(),
      }
      const { younger } = learned
      younger.reports += 1
      younger.outputTokens += outputTokens
      younger.tokensPerByte = Math.max(younger.tokensPerByte, outputTokens / bytes)
      if (durationMs !== undefined && isPositive(durationMs)) {
        younger.tokensPerMs = Math.max(younger.tokensPerMs, outputTokens / durationMs)
        if (!heldUp) learned.timedReports += 1
      }
      if (younger.reports >= spanReports && younger.outputTokens >= spanTokens) {
        learned.older = younger
        learned.younger = emptySpan()
      }
      learned.outputTokens += outputTokens
      // A map keeps the order of insertion: what is set again moves to the young end.
      kinds.delete(key)
      kinds.set(key, learned)
      if (kinds.size > maxKinds) {
        const oldest = kinds.keys().next()
        if (oldest.done !== true) kinds.delete(oldest.value)
      }
    },

    estimate(kind, { bytes, durationMs, choices }) {
      const learned = kinds.get(keyOf(kind))
      if (learned === undefined) return undefined
      if (learned.timedReports < minReports || learned.outputTokens < minTokens) return undefined
      const { younger, older } = learned
      const byBytes = Math.max(0, bytes) * Math.max(younger.tokensPerByte, older.tokensPerByte)
      const byDuration =
        Math.max(0, durationMs) * choices * Math.max(younger.tokensPerMs, older.tokensPerMs)
      return Math.ceil(Math.max(byBytes, byDuration))
    },
  }
}

function emptySpan(): Span {
  return { reports: 0, outputTokens: 0, tokensPerByte: 0, tokensPerMs: 0 }
}

function isPositive(value: number): boolean {
  return Number.isFinite(value) && value > 0
}

/** The model comes last, so that no name can be spelt to look like another key. */
function keyOf(kind: GenerationKind): string {
  return `${kind.dialect} ${kind.stream ? 'streamed' : 'whole'} ${kind.model}`
}
