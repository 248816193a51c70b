import { waitForEnd } from './audit-trail.js'
import { demoRequests } from './requests.js'
import type { DemoRequest } from './requests.js'
import { auditFilesOf, showSharing, usedToday } from './sharing.js'
import type { Stack } from './stack.js'

const REPORT_TIMEOUT_MS = 10_000

/** What came of one request. */
interface Answer {
  readonly status: number
  readonly auditId: string | null
  readonly text: string
}

/**
 * Sends the demo's requests and prints each with its verdict and what it cost.
 *
 * @returns whether every one came out as told
 */
export async function play(stack: Stack, print: (line: string) => void): Promise<boolean> {
  const credentials = new Map<string, string>()
  for (const caller of new Set(demoRequests.flatMap(({ caller }) => caller ?? []))) {
    credentials.set(caller, await stack.identityProvider.issue(caller))
  }
  let good = 0
  for (const [index, request] of demoRequests.entries()) {
    const sender = request.caller ?? 'nobody'
    print(`${String(index + 1)}. ${request.title} (${sender}, POST ${request.path})`)
    const credential = request.caller === undefined ? undefined : credentials.get(request.caller)
    const asTold = await playOne(stack, request, credential, print)
    if (asTold) good += 1
    else print(`   NOT AS TOLD: expected ${request.expects.told}`)
  }
  const { tollgate, second } = stack
  const shared = second === undefined || (await showSharing(tollgate, second, print))
  if (!shared) print('NOT AS TOLD: expected both to be asked, and to know of one balance')
  print(`${String(good)} of ${String(demoRequests.length)} came out as told`)
  return shared && good === demoRequests.length
}

async function playOne(
  stack: Stack,
  request: DemoRequest,
  credential: string | undefined,
  print: (line: string) => void,
): Promise<boolean> {
  const { status, code } = request.expects
  let passed = 0
  let spentTokens = 0
  let spentBefore = await usedToday(stack.tollgate, request.caller)
  let answer = await send(stack.envoy.url, request, credential)
  while (answer.status === 200) {
    passed += 1
    const cost = await costOf(stack, answer)
    if (cost === undefined) return false
    spentTokens += cost.tokens
    if (request.atMost === undefined) {
      print(`   200 -> ${cost.told}`)
      break
    }
    if (passed >= request.atMost) break
    spentBefore = await usedToday(stack.tollgate, request.caller)
    answer = await send(stack.envoy.url, request, credential)
  }
  if (request.atMost !== undefined) {
    print(`   200, ${String(passed)} times -> ${String(spentTokens)} tokens`)
  }
  let refusedTokens = 0
  if (answer.status !== 200) {
    const error = errorOf(answer.text)
    refusedTokens = (await usedToday(stack.tollgate, request.caller)) - spentBefore
    print(
      `   ${String(answer.status)} ${error.code ?? ''} -> ${String(refusedTokens)} tokens: ${error.message}`,
    )
  }
  const codeFits =
    code === undefined || (answer.status !== 200 && errorOf(answer.text).code === code)
  const looped = request.atMost === undefined || passed > 0
  return answer.status === status && codeFits && looped && refusedTokens === 0
}

async function send(
  url: string,
  request: DemoRequest,
  credential: string | undefined,
): Promise<Answer> {
  const response = await fetch(`${url}${request.path}`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(credential === undefined ? {} : { authorization: `Bearer ${credential}` }),
    },
    body: JSON.stringify(request.body),
  })
  return {
    status: response.status,
    auditId: response.headers.get('x-tollgate-audit-id'),
    text: await response.text(),
  }
}

/** Out of the audit record: the report comes a moment after the answer. Undefined: the answer names no record. */
async function costOf(
  stack: Stack,
  answer: Answer,
): Promise<{ readonly tokens: number; readonly told: string } | undefined> {
  if (answer.auditId === null) return undefined
  const end = await waitForEnd(auditFilesOf(stack), answer.auditId, REPORT_TIMEOUT_MS)
  const tokens = (end.inputTokens ?? 0) + (end.outputTokens ?? 0)
  const told = `${end.outcome}: ${String(tokens)} tokens (${String(end.inputTokens)} in, ${String(end.outputTokens)} out) of ${String(end.reservedTokens)} reserved`
  return { tokens, told }
}

interface ErrorBody {
  readonly error: { readonly code?: string; readonly message: string }
}

/** The error of a refusal; both dialects keep it in the same place. */
function errorOf(text: string): ErrorBody['error'] {
  return (JSON.parse(text) as ErrorBody).error
}
