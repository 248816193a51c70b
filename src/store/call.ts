import type { Script } from './script.js'

/** What a script answers: a word, Redis's moment in milliseconds, and whatever else. */
export type Reply = readonly [kind: string, redisMs: number, ...rest: unknown[]]

/** As `Store.run` takes it. */
export interface Call {
  readonly script: Script
  readonly keys: readonly string[]
  readonly argsUntil: (untilMs: number) => readonly string[]
  readonly dueMonotonicMs: number
  /** Of the keys, where it is known: long ones take long to hash. */
  readonly slot?: number | undefined
  /** How it may be asked again, where it fails. */
  readonly probe?: Probe | undefined
}

/** How a call that has failed is asked again without its caller, to see whether its server answers. */
export interface Probe {
  /** What the call is of. Of one thing the last call alone is remembered. */
  readonly of: string
  readonly timeoutMs: number
  /** As of the call, and nothing that Redis keeps changes by it. */
  readonly argsUntil: Call['argsUntil']
}
