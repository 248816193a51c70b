import { readFile } from 'node:fs/promises'
import { afterAll, afterEach, expect } from 'vitest'
import { parse, stringify } from 'yaml'
import { waitForEnd } from '../../deploy/demo/audit-trail.js'
import type { EndOfRequest } from '../../deploy/demo/audit-trail.js'
import type { GpuNode, ServedRequest } from '../../deploy/demo/gpu-node.js'
import { auditFilesOf } from '../../deploy/demo/sharing.js'
import { demoCallers, startStack } from '../../deploy/demo/stack.js'
import type { SecondPorts, Stack } from '../../deploy/demo/stack.js'
import { readDemoPolicy } from '../../deploy/demo/tollgate.js'
import { onFreePorts } from '../free-port.js'
import { freePorts } from './free-ports.js'

/** How long a test waits for what must come; a bound for failures, never a measurement. */
const PATIENCE_MS = 20_000

type Mapping = Record<string, unknown>

/** The demo's policy as an object, for a test to change. */
export interface PolicyDocument extends Mapping {
  audit: Mapping
  limits: Mapping
  models: Mapping[]
  grants: Mapping[]
  quotas: Mapping[]
}

export interface SendOptions {
  /** POST unless said otherwise. */
  readonly method?: string
  readonly path?: string
  /** Who sends it; absent: nobody. */
  readonly caller?: string
  /** The header that bears the credential. */
  readonly credentialHeader?: 'authorization' | 'x-api-key'
  readonly headers?: Readonly<Record<string, string>>
  /** An object becomes JSON. */
  readonly body?: object | string
  readonly signal?: AbortSignal
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
}

/** Where one quota stands for one caller. */
export interface QuotaRow {
  readonly quota: string
  readonly unit: string
  readonly limit: number
  readonly spent: number
  readonly reserved: number
  readonly debt: number
  readonly remaining: number
}

/** One line of Envoy's access log: the text and, as envoy.yaml names them, its members. */
export interface AccessLogLine {
  readonly text: string
  readonly members: Readonly<Record<string, unknown>>
}

/** A whole stack with what tests ask of it. */
export interface TestStack extends Stack {
  credentialOf(caller: string): string
  /** Sends a request through Envoy; resolves with the headers, the body still coming. */
  open(options: SendOptions): Promise<Response>
  /** Sends a request through Envoy and reads the whole answer. */
  send(options: SendOptions): Promise<Answer>
  /** What Tollgate says of a caller's quota. */
  usage(caller: string, quota: string): Promise<QuotaRow>
  /** The same, once no reservation of the caller is open any more. */
  settledUsage(caller: string, quota: string): Promise<QuotaRow>
  /** How the reservation of an answer ended, once it has. */
  endOf(answer: { readonly headers: Headers }): Promise<EndOfRequest>
  /** Envoy's line about an answer in its access log, once it is there. */
  accessLogOf(answer: { readonly headers: Headers }): Promise<AccessLogLine>
  /** The next request that a node gets after those it has. */
  nextServed(node: GpuNode): Promise<ServedRequest>
  /** A gauge or counter of Envoy. */
  envoyStat(name: string): Promise<number>
}

/**
 * Starts a stack on free ports and stops it after the file's tests. When one of them failed the logs stay, and
 * their place is printed.
 *
 * @param secondPorts as of `StackOptions`
 */
export async function startTestStack(
  change: (policy: PolicyDocument) => void = () => undefined,
  changeEnvoy: (config: string) => string = (config) => config,
  secondPorts?: SecondPorts,
): Promise<TestStack> {
  const policy = parse(await readDemoPolicy()) as PolicyDocument
  // Nobody waits for a late report here.
  policy['drain'] = { delayMs: 100, deadlineMs: 5000 }
  // One encoding and one thread: most of a start is the loading of encodings.
  policy.limits = { examinationWorkers: 1 }
  for (const model of policy.models) model['tokenizer'] = 'cl100k_base'
  // A busy machine is no broken disk: what is late here would be refused, as it should be.
  policy.audit['writeTimeoutMs'] = 20_000
  change(policy)
  const stack = await onFreePorts(async () =>
    startStack({
      ports: await freePorts(),
      secondPorts,
      policy: stringify(policy),
      random: Math.random,
      changeEnvoy,
    }),
  )
  let failed = false
  afterEach(({ task }) => {
    failed ||= task.result?.state === 'fail'
  })
  afterAll(async () => {
    await stack.stop({ keepFiles: failed })
    if (failed) console.error(`the logs of the failed stack are in ${stack.directory}`)
  })
  const credentials = new Map<string, string>()
  for (const { name } of demoCallers) {
    credentials.set(name, await stack.identityProvider.issue(name))
  }
  return withQuestions(stack, credentials)
}

function withQuestions(stack: Stack, credentials: Map<string, string>): TestStack {
  const credentialOf = (caller: string): string => {
    const credential = credentials.get(caller)
    if (credential === undefined) throw new Error(`the demo knows no caller ${caller}`)
    return credential
  }
  const open = async (options: SendOptions): Promise<Response> => {
    const { caller, credentialHeader = 'authorization', body, method = 'POST' } = options
    const headers = new Headers(options.headers)
    if (body !== undefined && !headers.has('content-type')) {
      headers.set('content-type', 'application/json')
    }
    if (caller !== undefined) {
      const scheme = credentialHeader === 'authorization' ? 'Bearer ' : ''
      headers.set(credentialHeader, `${scheme}${credentialOf(caller)}`)
    }
    return fetch(`${stack.envoy.url}${options.path ?? '/v1/chat/completions'}`, {
      method,
      headers,
      ...(body === undefined
        ? {}
        : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    })
  }
  const usage = async (caller: string, quota: string): Promise<QuotaRow> => {
    const known = demoCallers.find(({ name }) => name === caller)
    const query = new URLSearchParams({ tenant: known?.tenant ?? '', subject: caller })
    for (const group of known?.groups ?? []) query.append('group', group)
    const response = await fetch(`${stack.tollgate.adminUrl}/usage?${query.toString()}`)
    const { quotas } = (await response.json()) as { quotas: QuotaRow[] }
    const row = quotas.find((candidate) => candidate.quota === quota)
    if (row === undefined) throw new Error(`no quota ${quota}`)
    return row
  }
  return {
    ...stack,
    credentialOf,
    open,
    async send(options) {
      const response = await open(options)
      return { status: response.status, headers: response.headers, text: await response.text() }
    },
    usage,
    async settledUsage(caller, quota) {
      await eventually(async () => {
        expect((await usage(caller, 'user-parallel')).reserved).toBe(0)
      })
      return usage(caller, quota)
    },
    async endOf({ headers }) {
      const auditId = headers.get('x-tollgate-audit-id')
      if (auditId === null) throw new Error('the answer bears no audit id')
      return waitForEnd(auditFilesOf(stack), auditId, PATIENCE_MS)
    },
    async accessLogOf({ headers }) {
      // Every answer that Envoy sends bears it, its own errors too.
      const requestId = headers.get('x-request-id')
      if (requestId === null) throw new Error('the answer bears no request id')
      return eventually(async () => {
        // Envoy writes its log in batches, at the latest when it ends; the flush is asked for.
        await fetch(`${stack.envoy.adminUrl}/reopen_logs`, { method: 'POST' })
        const lines = (await readFile(stack.envoy.accessLogFile, 'utf8')).split('\n')
        const text = lines.find((line) => line.endsWith('}') && line.includes(requestId))
        if (text === undefined) throw new Error(`no line about ${requestId} in Envoy's access log`)
        return { text, members: JSON.parse(text) as AccessLogLine['members'] }
      })
    },
    async nextServed(node) {
      const before = node.served.length
      return eventually(() => {
        const served = node.served[before]
        if (served === undefined) throw new Error(`the ${node.pool} node got no request`)
        return served
      })
    },
    async envoyStat(name) {
      const response = await fetch(`${stack.envoy.adminUrl}/stats?filter=^${name}$`)
      return Number((await response.text()).split(': ')[1])
    },
  }
}

/** Tries again until `attempt` succeeds; after `patienceMs` its last failure is the test's. */
export async function eventually<Result>(
  attempt: () => Result | Promise<Result>,
  patienceMs = PATIENCE_MS,
): Promise<Result> {
  const deadlineMs = performance.now() + patienceMs
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (performance.now() > deadlineMs) throw error
    }
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** A chat in the OpenAI dialect; `model` as the demo's policy names them. */
export function chat(changes: Mapping = {}): Mapping {
  return {
    model: 'llama',
    max_tokens: 200,
    messages: [{ role: 'user', content: 'How far is it to the next gate?' }],
    ...changes,
  }
}

/** The last request that a node served. */
export function lastServed(node: GpuNode): ServedRequest {
  const served = node.served.at(-1)
  if (served === undefined) throw new Error(`the ${node.pool} node served nothing`)
  return served
}
