/** What the bench and the servers that it forks say to each other. */

export type ServerKind = 'noop' | 'tollgate'

/** Sent by a server when it listens. */
export interface Listening {
  readonly kind: 'listening'
  readonly address: string
  /** Credentials that it accepts; the bench spreads its requests over them. */
  readonly credentials: readonly string[]
}

export interface AskSample {
  readonly kind: 'sample'
}

/** Since the sample before. */
export interface Sample {
  readonly kind: 'sampled'
  readonly cpuMicros: number
  readonly longestLoopDelayMs: number
  readonly decisions: number
  readonly refused: number
  /** Sum over all decisions. */
  readonly stageMicros: Readonly<Record<string, number>>
}
