/** What is said of a finding: never its text (invariant 6). */
export interface AuditFinding {
  readonly category: string
  readonly rule: string
  readonly provenance: string
  readonly segment: number
  readonly span: readonly [start: number, end: number]
  readonly score: number
  readonly action: string
}

/** One per decision. Without prompt, credential or claim value, except the names of who pays and who called. */
export interface DecisionRecord {
  readonly type: 'decision'
  /** RFC 3339, UTC, milliseconds. */
  readonly time: string
  /** Joins the records of one request; means nothing else and ends no reservation. */
  readonly auditId: string
  /** The caller's own `x-request-id`, shortened and printable: a label, never a key. */
  readonly requestId: string | null
  readonly issuer: string | null
  readonly tenant: string | null
  readonly subject: string | null
  readonly client: string | null
  /** The id of the API key that the caller came with, never the key. */
  readonly apiKey: string | null
  /** Null when it is none of Tollgate's own: any text of a stranger could stand in it. */
  readonly path: string | null
  /** Identity of the downstream mTLS peer, as Envoy verified it. */
  readonly peer: string | null
  /** The labels of the route, from `context_extensions` in Envoy's file. */
  readonly context: Readonly<Record<string, string>>
  readonly model: string | null
  readonly decision: 'allow' | 'deny'
  readonly reason: string | null
  /** For the operator. Of an allow: `repeats ID`, when another Check of the same stream holds the reservation. */
  readonly detail: string | null
  readonly quota: string | null
  readonly shadowQuotas: readonly string[]
  /** The store was away: held to this process's share of these, */
  readonly localQuotas: readonly string[]
  /** and let pass by these without being counted. */
  readonly uncountedQuotas: readonly string[]
  /** The first 32. */
  readonly findings: readonly AuditFinding[]
  readonly findingCount: number
  /** Reserved by this decision: 0 when it repeats another. */
  readonly reservedTokens: number | null
  readonly pool: string | null
  readonly policyGeneration: string
}

/** One when the reservation of an allowed request ends. */
export interface EndRecord {
  readonly type: 'end'
  readonly time: string
  readonly auditId: string
  readonly tenant: string
  readonly subject: string
  readonly client: string | null
  readonly apiKey: string | null
  readonly model: string
  readonly outcome: 'settled' | 'released' | 'estimated' | 'unsettled'
  /** The reservation had been `unsettled` before this report came. */
  readonly late: boolean
  readonly reservedTokens: number
  readonly inputTokens: number | null
  readonly outputTokens: number | null
  readonly debtTokens: number
  /** HTTP status at the end of the stream, 0 if there was none. */
  readonly endStatus: number | null
  readonly durationMs: number | null
  readonly attempts: number | null
}

/** Starts, stops, loads of the policy: what changes the meaning of the records after it. */
export interface LifecycleRecord {
  readonly type: 'lifecycle'
  readonly time: string
  readonly event: 'start' | 'stop' | 'policy_loaded' | 'policy_refused' | 'torn_line_removed'
  readonly policyGeneration: string | null
}

export type AuditRecord = DecisionRecord | EndRecord | LifecycleRecord

/** Where records go. */
export interface AuditLog {
  /**
   * Resolves when the record is written (handed to the operating system).
   * @throws DependencyError it could not be written, or not in time
   */
  append(record: AuditRecord): Promise<void>
  /**
   * Writes a last signed checkpoint and closes the file.
   * @throws DependencyError the disk did not take it, or not in time
   */
  close(): Promise<void>
}
