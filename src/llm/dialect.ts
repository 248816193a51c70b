import type { Denial } from '../denial.js'
import type { OutputTerms } from './ask.js'
import type { FieldTable } from './fields.js'
import type { JsonObject } from './json.js'
import type { Reading } from './reading.js'

/** A refusal or failure, about to be written in a dialect. */
export interface ErrorAnswer {
  readonly status: number
  /** The closed reason, or Envoy's own `service_unavailable` and the like. */
  readonly code: string
  readonly message: string
  readonly param?: string | undefined
}

/**
 * One request and response format. A new dialect is one file in `dialects/` and one line in `dialects.ts`.
 */
export interface Dialect {
  /** Short and lower case: it stands in metrics, records and the report. No two dialects share one. */
  readonly name: string
  /** Exact paths, without query; all are POST with a JSON body. */
  readonly paths: readonly string[]
  /** The bearer may come in `x-api-key` instead of `Authorization`. */
  readonly readsApiKeyHeader: boolean
  /** What a reported usage means: are cached input tokens part of `input`, or do they come on top of it? */
  readonly cachedTokens: 'within_input' | 'on_top'
  /** Every name that needs a grant, wherever in a body it stands, by what `foldName` makes of it. */
  readonly guardedNames: ReadonlyMap<string, string>
  /** What a caller can do in place of using a guarded name, for the refusal: as it follows "Leave it out". */
  readonly insteadOf?: ReadonlyMap<string, string>
  /**
   * The closed list of the body's fields. `readAsk` holds each body against it before `read` sees it.
   *
   * @param path one of `paths`
   */
  fieldsOf(path: string): FieldTable
  /**
   * Reads the fields that are its own: notes every text and everything guarded in `reading`.
   *
   * @param path one of `paths`
   */
  read(reading: Reading, path: string, body: JsonObject): OutputTerms | Denial
  /** The JSON error body this dialect's clients expect. */
  errorBody(error: ErrorAnswer): string
}
