import type { Headers } from './headers.js'

/** One request as Envoy describes it, before anything of it is believed. */
export interface IncomingRequest {
  /** Envoy's own id of the stream, 64 random bits as text; the client cannot choose it. Empty: unknown. */
  readonly streamId: string
  /** When the stream began, as `seconds.nanoseconds`. Empty: unknown. */
  readonly startedAt: string
  /** The client's `x-request-id`: a label for correlation, never a key. */
  readonly requestId: string | undefined
  readonly method: string
  /** Normal form, without the query. */
  readonly path: string
  readonly headers: Headers
  /** Undefined when Envoy buffered none: a request without a body, or without a credential. */
  readonly body: Uint8Array | undefined
  /** Identity of the downstream mTLS peer as Envoy verified it; empty without one. */
  readonly peer: string
  /** What the route says of itself in Envoy's file (`context_extensions`): the operator's labels, never the client's. */
  readonly context: Readonly<Record<string, string>>
  /** Fires when Envoy gave the call up or its deadline passed. */
  readonly signal: AbortSignal
}
