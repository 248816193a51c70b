import type { Decision } from '../decision.js'
import { reservedTokens } from '../admission.js'
import type { Struct, StructValue } from './wire.js'

/**
 * What Envoy keeps of a decision under `envoy.filters.http.ext_authz`: the reservation for the report, the cap for
 * the transform filter, the rest for the access log. It stays inside Envoy; the reservation is told nowhere else.
 * What is not known is missing: Envoy's metadata actions take strings alone, and an empty one would match.
 */
export function dynamicMetadata(decision: Decision): Struct {
  const { verdict, principal } = decision
  const fields: Record<string, StructValue> = {
    audit_id: { stringValue: decision.auditId },
    decision: { stringValue: verdict.kind === 'allow' ? 'allow' : 'deny' },
  }
  const addText = (key: string, text: string | undefined): void => {
    if (text !== undefined && text !== '') fields[key] = { stringValue: text }
  }
  addText('tenant', principal?.tenant)
  addText('subject', principal?.subject)
  addText('client', principal?.client)
  addText('model', decision.model)
  if (verdict.kind === 'denied') {
    addText('reason', verdict.reason)
    addText('quota', verdict.quota)
    return { fields }
  }
  addText('pool', verdict.pool)
  if (verdict.reservation !== undefined) {
    addText('reservation', verdict.reservation.id)
    fields['reserved_tokens'] = { numberValue: reservedTokens(verdict.reservation.admission) }
  }
  if (verdict.injectCapTokens !== undefined)
    fields['cap'] = { numberValue: verdict.injectCapTokens }
  return { fields }
}
