import type { Clock } from '../clock.js'
import type { Denial } from '../denial.js'
import type { Principal } from '../identity/principal.js'
import type { Finding } from '../inspection/finding.js'
import type { InspectionRules } from '../inspection/rules.js'
import type { AskSummary } from '../llm/ask.js'
import type { Dialect } from '../llm/dialect.js'
import type { EncodingName } from '../llm/encodings.js'
import { KIB_BYTES } from '../units.js'

/** A request body as it arrived, and who sent it: callers are served in turns. */
export interface ArrivedPrompt {
  readonly dialect: Dialect
  readonly path: string
  readonly body: Uint8Array
  readonly principal: Pick<Principal, 'tenant' | 'subject'>
  /** Fires when nobody waits for the answer any more: work that has not begun is not done. */
  readonly signal: AbortSignal
}

/** A request body that was read; the work on its text happens where the text is. */
export interface OpenPrompt {
  readonly ask: AskSummary
  /**
   * A refusal says that the caller has too many prompts under examination.
   *
   * @throws DependencyError the time bound was reached: an error, never an allow
   */
  inspect(rules: InspectionRules): Promise<readonly Finding[] | Denial>
  /** Tokens of all segments. When the time bound is reached, the rest counts as its bytes: an upper bound. */
  countTokens(encoding: EncodingName): Promise<number>
  /** Frees the text; call it once, whatever happened. */
  close(): void
}

export interface PromptReader {
  /**
   * @throws DependencyError no worker was free in time, reading took longer than its bound, or there is no room for
   *   another large prompt
   * @throws AbandonedError the signal fired while the body waited
   */
  open(arrived: ArrivedPrompt): Promise<OpenPrompt | Denial>
  /**
   * Resolves when every worker thread has loaded what it needs.
   *
   * @throws DependencyError one ended before it had: large prompts would all fail
   */
  ready(): Promise<void>
  close(): Promise<void>
}

/**
 * Up to here the slowest piece of work on hostile text, inspection of digits in groups, stays within the 10 ms that
 * the event loop may be held (measured: 64 KiB take 15 ms); counting is done in slices.
 */
export const INLINE_BYTES = 32 * KIB_BYTES

export interface PromptReaderOptions {
  /** The built `worker.js`. */
  readonly workerFile: URL
  readonly workers: number
  /**
   * Bodies up to this size are worked on where they arrive, unless their inspection is dear; larger ones in a worker
   * thread.
   */
  readonly inlineBytes: number
  /** For each of read, inspect and count; the wait for a worker is bounded by as much again. */
  readonly timeoutMs: number
  /** All large bodies that are open at once, together; those of one caller may take an eighth of it. */
  readonly maxOpenBytes: number
  /** Loaded before the first request, here and in each worker. */
  readonly encodings: readonly EncodingName[]
  readonly clock: Clock
}
