import type { Place } from './envoy-file.js'
import type { Config } from './load.js'

/** What the two sides of the wire call things; the room `envoy/` says, its caller brings it here. */
export interface EnvoyWire {
  /** Names of the headers that only Tollgate may set. */
  readonly internalHeaders: readonly string[]
  /** The one that names the pool. */
  readonly poolHeader: string
  /** The rate limit domain of the report. */
  readonly reportDomain: string
  /** Every `report=NAME` descriptor. */
  readonly reportNames: readonly string[]
}

/** What all checks need. */
export interface EnvoyCheck {
  readonly config: Config
  readonly wire: EnvoyWire
  fault(place: Place, expected: string): void
}
