import type { Admission } from './admission.js'
import type { Clock } from './clock.js'
import { openDraft } from './decision.js'
import type { Allow, Decision, Draft } from './decision.js'
import { deny, isDenial } from './denial.js'
import type { Denial } from './denial.js'
import { AbandonedError } from './errors.js'
import { boundsOf, sizeOf } from './estimate.js'
import type { Sized } from './estimate.js'
import { holdsFor } from './holds.js'
import type { Authenticator } from './identity/authenticate.js'
import { readCredential } from './identity/credential.js'
import type { Principal } from './identity/principal.js'
import type { Dialect } from './llm/dialect.js'
import { dialectForPath } from './llm/dialects.js'
import { admitAsk, admitPath, findPlainPath, judge } from './policy.js'
import type { PlainPath, Policy } from './policy.js'
import type { OpenPrompt, PromptReader } from './prompt/prompt.js'
import type { GuardedLedger } from './quota/failover/guarded-ledger.js'
import type { Ended, Hold } from './quota/ledger.js'
import type { Estimate } from './quota/units.js'
import type { IncomingRequest } from './request.js'
import { checkShape } from './shape.js'
import { shortageDenial, unavailableDenial } from './shortage.js'
import type { Turn } from './turns.js'
import { refuseUsedUp } from './used-up.js'

/** One generation of the policy with what was built from it: a decision takes it once and keeps it. */
export interface PolicySnapshot {
  readonly policy: Policy
  readonly authenticator: Authenticator
}

export interface AuthorizeParts {
  /** The generation in force now. */
  readonly snapshot: () => PolicySnapshot
  readonly prompts: PromptReader
  readonly ledger: GuardedLedger<Admission>
  readonly clock: Clock
  /** 128 random bits, base64url. */
  readonly randomId: () => string
}

/**
 * The story of Check: the cheapest refusal first, and nothing is charged before every other check has passed.
 *
 * A refusal is a value in the decision. What throws is a failure of a dependency, or the caller gave up; then
 * nothing stays reserved, and the one catch in `server.ts` answers with a gRPC status.
 *
 * @param turn of the event loop, in which it begins
 */
export async function authorize(
  request: IncomingRequest,
  parts: AuthorizeParts,
  turn: Turn,
): Promise<Decision> {
  const snapshot = parts.snapshot()
  const draft = openDraft(request, snapshot.policy, parts)

  // 1. Is this a path that we know, and a request that can be read at all?
  const dialect = dialectForPath(request.path)
  draft.dialect = dialect
  if (dialect === undefined) return authorizePlainPath(request, snapshot, draft)
  const shapeFault = checkShape(request, snapshot.policy.maxBodyBytes)
  if (shapeFault !== undefined) return draft.close(shapeFault)

  // 2. Who is calling? Before the body is read: a stranger's bytes cost nothing.
  const principal = await identify(request, dialect.readsApiKeyHeader, snapshot)
  draft.lap('credential')
  if (isDenial(principal)) return draft.close(principal)
  draft.principal = principal

  // 3. What does it ask for? Keys and signatures may have been waited for, and may have come with those of many others.
  await turn.goOn(request.signal)
  if (request.body === undefined || request.body.length === 0) {
    return draft.close(deny('body_missing', 'Send the request as a JSON body.'))
  }
  const { path, body, signal } = request
  const prompt = await parts.prompts.open({ dialect, path, body, principal, signal })
  draft.lap('read')
  if (isDenial(prompt)) return draft.close(prompt)
  try {
    return await authorizePrompt(prompt, principal, dialect, snapshot.policy, draft, parts)
  } finally {
    prompt.close()
  }
}

/** A request that could not even be read off the wire is refused like any other, with a record of its own. */
export function refuseUnread(
  request: IncomingRequest,
  fault: Denial,
  parts: AuthorizeParts,
): Decision {
  const draft = openDraft(request, parts.snapshot().policy, parts)
  draft.dialect = dialectForPath(request.path)
  return draft.close(fault)
}

async function authorizePrompt(
  prompt: OpenPrompt,
  principal: Principal,
  dialect: Dialect,
  policy: Policy,
  draft: Draft,
  parts: AuthorizeParts,
): Promise<Decision> {
  const { ask } = prompt

  // 4. May this caller ask for this model, with this much output?
  const admitted = admitAsk(policy, principal, ask)
  if (isDenial(admitted)) return draft.close(admitted)
  const { model } = admitted
  draft.model = model.name

  // 5. Is a quota already used up? Then the costly work below is not done. The text is counted only where it matters
  //    for when the request will fit.
  const idempotencyKey = idempotencyKeyOf(draft.request, parts)
  const holdsOf = (estimate: Estimate): readonly Hold[] =>
    holdsFor(policy, principal, model, estimate, draft.request)
  const count = once(async (): Promise<Sized> => {
    const textTokens = await prompt.countTokens(model.encoding)
    draft.lap('count')
    return sizeOf(admitted, ask, textTokens)
  })
  const usedUp = await refuseUsedUp({
    look: (estimate, nowEpochMs) =>
      parts.ledger.exhausted({ holds: holdsOf(estimate), idempotencyKey }, nowEpochMs),
    nowEpochMs: () => parts.clock.nowEpochMs(),
    bounds: boundsOf(admitted, ask),
    count: async () => (await count()).estimate,
  })
  if (usedUp !== undefined) return draft.close(usedUp)

  // 6. What does the prompt say?
  const findings = await prompt.inspect(policy.inspection)
  draft.lap('inspect')
  if (isDenial(findings)) return draft.close(findings)
  draft.findings = findings
  const blocked = judge(findings)
  if (blocked !== undefined) return draft.close(blocked)

  // 7. How much will it cost?
  const { estimate, injectTokens } = await count()

  // 8. Hold it against every quota that binds, all or nothing.
  if (draft.request.signal.aborted) throw new AbandonedError('given up before the reservation')
  const admission: Admission = {
    auditId: draft.auditId,
    tenant: principal.tenant,
    subject: principal.subject,
    client: principal.client ?? null,
    apiKey: principal.apiKey,
    model: model.name,
    dialect: dialect.name,
    stream: ask.stream,
    stopsOnDisconnect: model.stopsOnDisconnect,
    prices: model.prices,
    choices: ask.choices,
    candidatesPerChoice: ask.candidatesPerChoice,
    runningUsage: ask.runningUsage,
    withholdsTokens: ask.withholdsTokens,
    failsLate: ask.failsLate,
    teachesRates: ask.teachesRates,
    ...estimate,
  }
  const held = await parts.ledger.reserve(
    {
      id: parts.randomId(),
      idempotencyKey,
      holds: holdsOf(estimate),
      context: admission,
      leaseMs: policy.leaseMs,
    },
    parts.clock.nowEpochMs(),
  )
  draft.lap('reserve')
  if (held.kind === 'short') return draft.close(shortageDenial(held, estimate))
  if (held.kind === 'unavailable') return draft.close(unavailableDenial(held))
  draft.fallback = held.fallback
  draft.shadowQuotas = held.shadowShort.map((quota) => quota.name)

  // 9. The answer: where it goes, what Envoy puts into it, and how its report will find the reservation.
  return draft.close({
    kind: 'allow',
    pool: model.pool,
    keepCredential: policy.keepCredential,
    reservation: {
      id: held.reservation.id,
      carrier: held.carrier,
      admission: held.reservation.context,
      holds: held.reservation.holds,
    },
    ...(injectTokens === undefined ? {} : { injectCapTokens: injectTokens }),
    injectStreamUsage: admitted.injectStreamUsage,
    balances: held.balances,
  })
}

/** Paths that name no model, as `/v1/models`: exact path and method, no body, no reservation. */
async function authorizePlainPath(
  request: IncomingRequest,
  snapshot: PolicySnapshot,
  draft: Draft,
): Promise<Decision> {
  const candidates = findPlainPath(snapshot.policy, request.path)
  if (candidates.length === 0) {
    return draft.close(
      deny('route_unknown', 'There is no such path here. Check the URL of the request.'),
    )
  }
  const path = candidates.find((candidate) => candidate.method === request.method)
  if (path === undefined) {
    const allowedMethods = candidates.map((candidate) => candidate.method)
    const message = `Use ${allowedMethods.join(' or ')} on this path.`
    return draft.close(deny('method_not_allowed', message, { allowedMethods }))
  }
  if (hasBody(request)) {
    return draft.close(
      deny('body_unexpected', 'This path takes no body. Send the request without one.'),
    )
  }
  if (!path.public) {
    // It is of no dialect: the clients of any list the models, each with the header that it knows.
    const principal = await identify(request, true, snapshot)
    draft.lap('credential')
    if (isDenial(principal)) return draft.close(principal)
    draft.principal = principal
    const refusal = admitPath(snapshot.policy, principal, path)
    if (refusal !== undefined) return draft.close(refusal)
  }
  return draft.close(allowPath(path, snapshot.policy))
}

function allowPath(path: PlainPath, policy: Policy): Allow {
  return {
    kind: 'allow',
    pool: path.pool,
    keepCredential: policy.keepCredential,
    injectStreamUsage: false,
    balances: [],
  }
}

/**
 * Ends the reservation of a decision that never reached Envoy: the call was given up, or the record of an allow
 * could not be written. Nothing was generated, so all of it is released.
 */
export async function abandon(
  decision: Decision,
  parts: Pick<AuthorizeParts, 'ledger' | 'clock'>,
): Promise<Ended<Admission> | undefined> {
  if (decision.verdict.kind !== 'allow' || decision.verdict.reservation === undefined)
    return undefined
  const { id, carrier } = decision.verdict.reservation
  return parts.ledger.abandon(id, parts.clock.nowEpochMs(), carrier)
}

async function identify(
  request: IncomingRequest,
  apiKeyHeader: boolean,
  snapshot: PolicySnapshot,
): Promise<Principal | Denial> {
  const credential = readCredential(request.headers, { apiKeyHeader })
  if (typeof credential !== 'string') return credential
  return snapshot.authenticator.authenticate(credential)
}

function hasBody(request: IncomingRequest): boolean {
  if (request.body !== undefined && request.body.length > 0) return true
  const length = request.headers.get('content-length')?.[0]
  return (length !== undefined && length !== '0') || request.headers.has('transfer-encoding')
}

/** The work is done when it is first asked for, and not again. */
function once<Result>(work: () => Promise<Result>): () => Promise<Result> {
  let result: Promise<Result> | undefined
  return () => (result ??= work())
}

/**
 * A repeated Check of one stream must find its first reservation. Without Envoy's own id there is nothing that
 * tells one request from another, so each is its own: charged twice is safe, sharing one reservation is not.
 */
function idempotencyKeyOf(request: IncomingRequest, parts: AuthorizeParts): string {
  if (request.streamId === '' || request.startedAt === '') return `unique:${parts.randomId()}`
  return `stream:${request.streamId}@${request.startedAt}`
}
