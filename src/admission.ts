import type { ReportTerms } from './llm/ask.js'
import type { Prices } from './prices.js'

/**
 * What admission knew of a request and its report needs: the context of its reservation. Plain JSON, since a
 * shared ledger stores it. It names the caller for the audit record and holds nothing of the prompt.
 */
export interface Admission extends ReportTerms {
  readonly auditId: string
  readonly tenant: string
  readonly subject: string
  readonly client: string | null
  /** The id of the API key that the caller came with; absent in what an older release stored, and with a JWT. */
  readonly apiKey?: string | undefined
  readonly model: string
  readonly dialect: string
  /** The engine stops when its client leaves, also without streaming (the model's policy says so). */
  readonly stopsOnDisconnect: boolean
  /** The model's, as of the admission: a change of the policy does not change what a request costs. */
  readonly prices?: Prices | undefined
  readonly inputTokens: number
  /** For all choices together. */
  readonly outputTokens: number
}

export function reservedTokens(admission: Admission): number {
  return admission.inputTokens + admission.outputTokens
}

/** Another Check of the same stream holds it already: this decision reserved nothing, and that one is ended. */
export function isRepeat(admission: Admission, decision: { readonly auditId: string }): boolean {
  return admission.auditId !== decision.auditId
}
