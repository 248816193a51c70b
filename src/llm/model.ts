import type { Prices } from '../prices.js'
import type { EncodingName } from './encodings.js'

/** A model as the policy describes it. */
export interface Model {
  readonly name: string
  readonly aliases: readonly string[]
  readonly encoding: EncodingName
  readonly contextTokens: number
  /** What is reserved and put in when neither the caller nor its grant names a cap. */
  readonly defaultOutputTokens: number
  /** What to do with a request that names no output cap (docs/design.md). */
  readonly uncapped: 'cap' | 'require' | 'reserve'
  /** How usage gets into a stream (docs/design.md). */
  readonly streamUsage: 'inject' | 'require' | 'estimate'
  /** The engine stops generating when its client leaves, also without streaming. */
  readonly stopsOnDisconnect: boolean
  /** Names of fields beyond the dialect's list that are let through, or `*`. */
  readonly extraFields: readonly string[]
  /** What quotas of unit cost count by; undefined: none may bind it. */
  readonly prices?: Prices | undefined
  /** Which group of GPU nodes serves it: the exact value of `x-tollgate-pool`. */
  readonly pool: string
}
