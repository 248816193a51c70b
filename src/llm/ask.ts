import type { Segment } from '../segment.js'

/** What a request asks for, read strictly out of its body. Contains the prompt: never log one. */
export interface Ask {
  /** The dialect's name. */
  readonly dialect: string
  /** As the caller wrote it; the policy resolves aliases. */
  readonly model: string
  readonly segments: readonly Segment[]
  /** The largest of all cap fields, for one choice; undefined when the caller named none. */
  readonly outputCapTokens: number | undefined
  /** Tokens at most that a chat template prints around the texts: role markers, and JSON's own signs in tools. */
  readonly markupTokens: number
  /** How many outputs the engine generates: prompts x max(n, best_of), at least 1. */
  readonly choices: number
  readonly stream: boolean
  /** The caller itself asks for usage in the stream, or the dialect always sends it. */
  readonly streamUsage: boolean
  /**
   * The engine may answer 4xx after it has generated: vLLM does when it cannot read the call out of an answer that was
   * forced to be one (`tool_choice`) and was cut off by its cap. Such a status proves nothing.
   */
  readonly failsLate: boolean
  /** A filter may re-serialise the body: no number in it would change on the way through a double. */
  readonly rewritable: boolean
  /** Names of fields outside the dialect's list, as `logit_bias_v2`; only a model's `extraFields` admits them. */
  readonly unknownFields: readonly string[]
  /** Names of fields that steer the engine or that inspection cannot read; only a grant's `fields` admits them. */
  readonly guardedFields: readonly string[]
}

/** An `Ask` without the texts: what crosses from the worker thread, and what decisions are made of. */
export type AskSummary = Omit<Ask, 'segments'> & {
  readonly segmentCount: number
  /** UTF-8 bytes of all segments: an upper bound of their tokens, since every token covers a byte. */
  readonly segmentBytes: number
}
