/** How the node answers what comes next; each member that is absent is as a good engine does. */
export interface Behaviour {
  /** Answers wait until `release`. The request was received and is recorded. */
  readonly hold?: boolean
  /** Generates so many tokens, not a random number; at most the request's cap. */
  readonly outputTokens?: number
  /** Generates this many tokens, then waits for `release`. */
  readonly pauseAfterTokens?: number
  /** Between two tokens. */
  readonly tokenDelayMs?: number
  /** Takes the request, generates this many tokens, and resets the connection without having answered. */
  readonly resetAfterTokens?: number
  /** Answers this status with an error of its own, without generating. */
  readonly refuseWithStatus?: number
  /** Says nothing of usage. */
  readonly omitUsage?: boolean
  /** An Anthropic stream says all figures at its end, and nothing but zeros of the input before. */
  readonly cumulativeUsage?: boolean
  /** Blank padding in the event of a stream that says the usage; in the middle of it waits for `release`. */
  readonly usageEventPaddingBytes?: number
  /** Blank padding at the end of an answer that is not streamed. */
  readonly paddingBytes?: number
  /** Sends an answer that is not streamed in chunks, without saying its length. */
  readonly chunked?: boolean
}
