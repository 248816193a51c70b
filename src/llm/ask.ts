import type { Segment } from '../segment.js'

/** What the end of a request has to be judged by: how far its report can be believed, and what it stands for. */
export interface ReportTerms {
  /** How many candidates the engine generates, all at once: prompts x max(n, best_of), at least 1. */
  readonly choices: number
  /**
   * Candidates for each one that is returned: `best_of` / `n`, rounded up, at least 1. An engine may report the
   * tokens of what it returned alone.
   */
  readonly candidatesPerChoice: number
  readonly stream: boolean
  /** The stream tells its usage while it runs: a figure of one that was cut is behind what was generated. */
  readonly runningUsage: boolean
  /** The engine sends several tokens at a time, or all in the end: the bytes of a stream that was cut say little of what it generated. */
  readonly withholdsTokens: boolean
  /**
   * The engine may answer 4xx after it has generated: vLLM does when it cannot read the call out of an answer that was
   * forced to be one (`tool_choice`) and was cut off by its cap. Such a status proves nothing.
   */
  readonly failsLate: boolean
  /**
   * One choice, and no field in use that changes how many bytes or how much time an output token takes on its way
   * out, as log probabilities do: the report may teach the rates that other streams are estimated by.
   */
  readonly teachesRates: boolean
}

/** What a dialect reads out of a body whose fields were checked against its table. */
export interface OutputTerms extends Omit<ReportTerms, 'teachesRates'> {
  /** The largest of all cap fields, for one choice; undefined when the caller named none. */
  readonly outputCapTokens: number | undefined
  /** The caller itself asks for usage in the stream, or the dialect always sends it. */
  readonly streamUsage: boolean
}

/** What a request asks for, read strictly out of its body. Contains the prompt: never log one. */
export interface Ask extends OutputTerms, ReportTerms {
  /** The dialect's name. */
  readonly dialect: string
  /** As the caller wrote it; the policy resolves aliases. */
  readonly model: string
  readonly segments: readonly Segment[]
  /** Tokens at most that a chat template prints around the texts: role markers, and JSON's own signs in tools. */
  readonly markupTokens: number
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
