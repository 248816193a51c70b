import type { Denial } from '../denial.js'
import type { Finding } from '../inspection/finding.js'
import type { InspectionRules } from '../inspection/rules.js'
import type { AskSummary } from '../llm/ask.js'
import type { EncodingName } from '../llm/encodings.js'

/** What the pool tells a worker when it starts it. */
export interface WorkerSetup {
  readonly encodings: readonly EncodingName[]
  readonly timeoutMs: number
}

/** One piece of work. `prompt` names a body that stays in the worker until `close`. */
export type WorkerRequest =
  | {
      readonly kind: 'open'
      readonly prompt: number
      readonly dialect: string
      readonly path: string
      readonly body: Uint8Array
    }
  /** `rulesId` is the same for the same rules, so that a worker compiles them once. */
  | {
      readonly kind: 'inspect'
      readonly prompt: number
      readonly rulesId: number
      readonly rules: InspectionRules
    }
  | { readonly kind: 'count'; readonly prompt: number; readonly encoding: EncodingName }
  | { readonly kind: 'close'; readonly prompt: number }

/** A worker says it once, when its encodings are loaded: until then it takes no work. */
export interface WorkerReady {
  readonly kind: 'ready'
}

/** The answer to `open`, `inspect` or `count`; `close` has none. `failed` names the class of an error, never its text. */
export type WorkerAnswer =
  | { readonly kind: 'opened'; readonly summary: AskSummary }
  | { readonly kind: 'refused'; readonly denial: Denial }
  | { readonly kind: 'inspected'; readonly findings: readonly Finding[] }
  | { readonly kind: 'counted'; readonly tokens: number }
  | { readonly kind: 'failed'; readonly errorName: string }
