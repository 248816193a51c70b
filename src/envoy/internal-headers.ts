/**
 * Headers that speak to what stands behind Tollgate. A client's own copy never gets there: each is set by this
 * answer or removed by it, and so is every name that a server could take for one of them.
 */

/** What an answer can set. A new header is one line here and one in `upstreamHeaders` of `check-response.ts`. */
export const internalHeaders = {
  /** Chooses the route, hence the GPU pool. */
  pool: 'x-tollgate-pool',
  tenant: 'x-tollgate-tenant',
  subject: 'x-tollgate-subject',
  client: 'x-tollgate-client',
  model: 'x-tollgate-model',
  /** Joins the engine's log with the audit record; ends no reservation. */
  auditId: 'x-tollgate-audit-id',
  /** Categories of findings that were let pass, separated by commas. */
  flags: 'x-tollgate-flags',
  /** `inject`: the transform filter puts the output cap into the body. */
  cap: 'x-tollgate-cap',
  /** `inject`: the transform filter asks for usage in the stream. */
  usage: 'x-tollgate-usage',
  /** Whose queue the scheduler of the Gateway API inference extension puts the request in. */
  fairnessId: 'x-gateway-inference-fairness-id',
} as const

export type InternalHeader = (typeof internalHeaders)[keyof typeof internalHeaders]

/** Headers that steer a scheduler or an engine and that Tollgate never sets: no caller may jump its queue or pick its GPU. */
const steeringHeaders = [
  'x-gateway-inference-objective',
  'x-gateway-destination-endpoint',
  'x-gateway-destination-endpoint-subset',
  'x-gateway-model-name-rewrite',
  // llm-d: the newer names of fairness and objective, and where a prompt is prefilled.
  'x-llm-d-inference-fairness-id',
  'x-llm-d-inference-objective',
  'x-prefiller-host-port',
  // vLLM and SGLang: which replica of a data-parallel engine.
  'x-data-parallel-rank',
  // Which worker takes a request, or is asked for its prompt or cache: llm-d's sidecar connects to the address it is
  // given, SGLang's router goes to the worker.
  'x-data-parallel-host-port',
  'x-encoder-hosts-ports',
  'x-kv-cache-source-host-port',
  'x-smg-target-worker',
  'x-smg-routing-key',
]

const credentialHeaders = ['authorization', 'x-api-key', 'proxy-authorization'] as const

type CredentialHeader = (typeof credentialHeaders)[number]

/**
 * Everything that only Tollgate may say to what stands behind it. `envoy.yaml` strips the same names before the
 * first route match, so that a client's own copy chooses no route either.
 */
export const reservedHeaders: readonly string[] = [
  ...Object.values(internalHeaders),
  ...steeringHeaders,
]

/** Removed by every answer unless it sets or keeps them, whether or not Check saw one: a filter may hide headers from it. */
const alwaysRemoved: readonly string[] = [...reservedHeaders, ...credentialHeaders]

const reservedNames = new Set(alwaysRemoved)
const reservedPrefixes = ['x-tollgate-', 'x-gateway-', 'x-llm-d-']

/**
 * The form in which servers that turn headers into variables compare names: CGI and WSGI make `-` and `_` the same,
 * others do it to every character that is no letter or digit.
 */
function fold(name: string): string {
  return /[^a-z0-9-]/.test(name) ? name.toLowerCase().replace(/[^a-z0-9]/g, '-') : name
}

function isReserved(name: string): boolean {
  const folded = fold(name)
  return reservedNames.has(folded) || reservedPrefixes.some((prefix) => folded.startsWith(prefix))
}

/**
 * What this answer removes from the request. Envoy removes after it sets, so a name that is set is never in it.
 *
 * @param received names that came with the request
 * @param set names that this answer sets
 * @param kept headers of the caller's credential that go upstream
 */
export function headersToRemove(
  received: Iterable<string>,
  set: ReadonlySet<string>,
  kept: readonly CredentialHeader[],
): readonly string[] {
  const stays = (name: string): boolean =>
    set.has(name) || (kept as readonly string[]).includes(name)
  const removed = alwaysRemoved.filter((name) => !stays(name))
  for (const name of received) {
    if (!reservedNames.has(name) && isReserved(name)) removed.push(name)
  }
  return removed
}
