import type { Allow, Decision } from '../decision.js'
import { deniedResponse, denialCode } from './denied-response.js'
import { dynamicMetadata } from './dynamic-metadata.js'
import { encodeValue, setHeader } from './header-option.js'
import { headersToRemove, internalHeaders } from './internal-headers.js'
import type { InternalHeader } from './internal-headers.js'
import { rateLimitHeaders } from './rate-limit-headers.js'
import type { CheckResponse, OkHttpResponse } from './wire.js'

/** A decision as the answer to Check. Its status is always explicit: without one, Envoy would let the request pass. */
export function toCheckResponse(decision: Decision): CheckResponse {
  const { verdict } = decision
  switch (verdict.kind) {
    case 'allow':
      return {
        status: { code: 0 },
        okResponse: allowedResponse(decision, verdict),
        dynamicMetadata: dynamicMetadata(decision),
      }
    case 'denied':
      return {
        status: { code: denialCode(verdict) },
        deniedResponse: deniedResponse(decision, verdict),
        dynamicMetadata: dynamicMetadata(decision),
      }
  }
}

function allowedResponse(decision: Decision, allow: Allow): OkHttpResponse {
  const upstream = upstreamHeaders(decision, allow)
  return {
    headers: [...upstream].map(([name, value]) => setHeader(name, value)),
    headersToRemove: headersToRemove(
      decision.request.headers.keys(),
      new Set(upstream.keys()),
      keptCredential(decision, allow),
    ),
    responseHeadersToAdd: [
      setHeader('x-tollgate-audit-id', encodeValue(decision.auditId)),
      ...rateLimitHeaders(allow.balances),
    ],
  }
}

/** What the engine and the filters before it are told, by name. */
function upstreamHeaders(decision: Decision, allow: Allow): ReadonlyMap<InternalHeader, string> {
  const { principal } = decision
  const headers = new Map<InternalHeader, string>()
  // Envoy drops a header that is set to nothing, and the client's would survive: then it is removed instead.
  const set = (name: InternalHeader, text: string | undefined): void => {
    if (text !== undefined && text !== '') headers.set(name, encodeValue(text))
  }
  set(internalHeaders.pool, allow.pool)
  set(internalHeaders.auditId, decision.auditId)
  set(internalHeaders.tenant, principal?.tenant)
  set(internalHeaders.subject, principal?.subject)
  set(internalHeaders.client, principal?.client)
  set(internalHeaders.model, decision.model)
  // Fair among those who pay: a tenant with many users has one queue.
  set(internalHeaders.fairnessId, principal?.tenant)
  set(internalHeaders.flags, flagsOf(decision))
  if (allow.injectCapTokens !== undefined) set(internalHeaders.cap, 'inject')
  if (allow.injectStreamUsage) set(internalHeaders.usage, 'inject')
  return headers
}

function flagsOf(decision: Decision): string {
  const flagged = decision.findings.filter((finding) => finding.action === 'flag')
  return [...new Set(flagged.map((finding) => finding.category))].sort().join(',')
}

/** The header that the credential was read from, if the policy passes it on; any other stays removed. */
function keptCredential(
  decision: Decision,
  allow: Allow,
): readonly ('authorization' | 'x-api-key')[] {
  if (!allow.keepCredential || decision.principal === undefined) return []
  // A path of no dialect takes either.
  return decision.dialect?.readsApiKeyHeader !== false
    ? ['authorization', 'x-api-key']
    : ['authorization']
}
