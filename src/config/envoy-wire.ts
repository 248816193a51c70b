import type { Place } from './envoy-file.js'
import type { EnvoyTerms } from './envoy-terms.js'

/** What the two sides of the wire call things; the room `envoy/` says, its caller brings it here. */
export interface EnvoyWire {
  /** Names of the headers that no client may send through: what Tollgate sets, and what steers a scheduler or an engine. */
  readonly reservedHeaders: readonly string[]
  /** The one that names the pool. */
  readonly poolHeader: string
  /** The rate limit domain of the report. */
  readonly reportDomain: string
  /** Every `report=NAME` descriptor. */
  readonly reportNames: readonly string[]
}

/** What all checks need. */
export interface EnvoyCheck {
  readonly terms: EnvoyTerms
  readonly wire: EnvoyWire
  /** @param found what to show instead of the value as written */
  fault(place: Place, expected: string, found?: string): void
}
