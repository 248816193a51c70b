// One of the two servers that `run.ts` compares: `noop` decodes a CheckRequest and answers the same allow each time;
// `tollgate` decides it with everything on: identity, grants, inspection, counting, ledger, audit, log, metrics. With the
// URL of a Redis as second argument its ledger is there (`silent-store.ts`).
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Server } from '@grpc/grpc-js'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { pino } from 'pino'
import type { Admission } from '../src/admission.js'
import { openAuditLog } from '../src/audit/file-log.js'
import { systemClock } from '../src/clock.js'
import { authorizationService } from '../src/envoy/protos.js'
import { createIdentity } from '../src/identity/authenticate.js'
import type { Issuer } from '../src/identity/issuer.js'
import { createLateReports } from '../src/late-reports.js'
import { listen } from '../src/listen.js'
import { createGenerationRates } from '../src/llm/generation-rate.js'
import { INLINE_BYTES } from '../src/prompt/prompt.js'
import { createPromptReader } from '../src/prompt/reader.js'
import type { GuardedLedger } from '../src/quota/guarded-ledger.js'
import { createLedger } from '../src/quota/ledgers.js'
import { createMemoryLedger } from '../src/quota/memory-ledger.js'
import { createServices } from '../src/server.js'
import { createLog } from '../src/telemetry/log.js'
import { createMetrics } from '../src/telemetry/metrics.js'
import { createRecorder } from '../src/telemetry/record.js'
import type { Recorder } from '../src/telemetry/record.js'
import { examplePolicy } from '../test/example-policy.js'
import type { Listening, Sample, ServerKind } from './messages.js'

const ISSUER = 'https://idp.bench.example'
const CREDENTIALS = 50
const BODY_BYTES = 8 * 1024 * 1024

const kind = process.argv[2] as ServerKind
const directory = mkdtempSync(join(tmpdir(), 'tollgate-bench-'))
const loopDelay = monitorEventLoopDelay({ resolution: 1 })
loopDelay.enable()

let decisions = 0
let refused = 0
let stageMicros: Record<string, number> = {}

function addNoop(server: Server): void {
  // What Tollgate answers to an allow, in size and shape.
  const overwrite = (key: string, value: string) => ({
    header: { key, value },
    append: { value: false },
    appendAction: 'OVERWRITE_IF_EXISTS_OR_ADD' as const,
  })
  const answer = {
    status: { code: 0 },
    okResponse: {
      headers: ['pool', 'tenant', 'subject', 'client', 'model', 'audit-id'].map((name) =>
        overwrite(`x-tollgate-${name}`, 'some-value-of-it'),
      ),
      headersToRemove: ['authorization', 'x-api-key'],
      responseHeadersToAdd: [overwrite('x-tollgate-audit-id', 'some-value-of-it')],
    },
    dynamicMetadata: { fields: { reservation: { stringValue: 'some-value-of-it' } } },
  } as const
  server.addService(
    { Check: authorizationService.Check },
    {
      Check: (_call: unknown, callback: (error: null, response: typeof answer) => void) => {
        decisions += 1
        callback(null, answer)
      },
    },
  )
}

/** The default of `ledger.timeoutMs`. */
const TIMEOUT_MS = 60

function openLedger(): GuardedLedger<Admission> {
  const url = process.argv[3]
  if (url === undefined) return createMemoryLedger<Admission>()
  const access = { caFile: undefined, user: undefined, passwordFile: undefined }
  return createLedger<Admission>(
    {
      ...{ kind: 'redis', address: { url, ...access }, timeoutMs: TIMEOUT_MS },
      ...{ maxPartitions: undefined, processes: 1 },
    },
    { clock: systemClock, random: Math.random, processId: 'bench', heapBytes: 2 ** 30 },
  )
}

async function createTollgate(): Promise<{
  credentials: readonly string[]
  add: (server: Server) => void
}> {
  const { publicKey, privateKey } = await generateKeyPair('ES256')
  const jwk = { ...(await exportJWK(publicKey)), kid: 'k1', alg: 'ES256', use: 'sig' }
  const issuer: Issuer = {
    issuer: ISSUER,
    audiences: ['llm'],
    algorithms: ['ES256'],
    tenant: { kind: 'claim', claim: 'org' },
    groupsClaim: 'groups',
    clockToleranceMs: 30_000,
    maxLifetimeMs: 86_400_000,
    jwksCacheMs: 600_000,
    claims: [],
    jwksStaleMs: 3_600_000,
    caFile: undefined,
    insecureHttp: false,
  }
  const identity = createIdentity({
    clock: systemClock,
    random: Math.random,
    fetch: async ({ url }) =>
      Buffer.from(
        JSON.stringify(
          url.pathname.includes('well-known')
            ? { issuer: ISSUER, jwks_uri: `${ISSUER}/jwks` }
            : { keys: [jwk] },
        ),
      ),
  })
  const authenticator = identity.use([issuer])
  await authenticator.prefetch()
  const credentials = await Promise.all(
    Array.from({ length: CREDENTIALS }, (_, index) =>
      new SignJWT({ org: 'acme', groups: ['research'], client_id: 'app' })
        .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
        .setIssuer(ISSUER)
        .setAudience('llm')
        .setSubject(`user-${String(index)}`)
        .setIssuedAt()
        .setExpirationTime('1h')
        .sign(privateKey),
    ),
  )

  const example = examplePolicy()
  const policy = examplePolicy({
    quotas: [
      ...example.quotas.map((quota) => ({ ...quota, limit: 1e12 })),
      {
        name: 'org-day',
        unit: 'tokens',
        limit: 1e14,
        window: { kind: 'calendar', period: 'day', timeZone: 'UTC' },
        by: ['tenant'],
        groups: [],
        models: [],
        shadow: false,
      },
      {
        name: 'user-parallel',
        unit: 'in_flight',
        limit: 1e9,
        window: { kind: 'open' },
        by: ['tenant', 'subject'],
        groups: [],
        models: [],
        shadow: false,
      },
    ],
    // So that the ledger holds what a busy minute holds, and not all that the bench ever sent.
    leaseMs: 10_000,
  })
  const ledger = openLedger()
  const keyFile = join(directory, 'audit.pem')
  const pair = generateKeyPairSync('ed25519')
  writeFileSync(keyFile, pair.privateKey.export({ type: 'pkcs8', format: 'pem' }))
  const audit = await openAuditLog({
    file: join(directory, 'audit.jsonl'),
    keyFile,
    writeTimeoutMs: 5000,
    clock: systemClock,
    onCheckpoint: () => undefined,
  })
  const log = createLog({
    level: 'info',
    destination: pino.destination({ dest: '/dev/null', sync: false }),
  })
  const recorder = createRecorder({
    log,
    metrics: createMetrics(),
    audit,
    auditRequired: true,
    clock: systemClock,
  })
  const counting: Recorder = {
    ...recorder,
    // A failure here is one of the bench, and must be seen.
    failure(operation, error) {
      process.stderr.write(`${operation}: ${error instanceof Error ? error.message : 'failed'}\n`)
      recorder.failure(operation, error)
    },
    decision(decision, durationMs) {
      decisions += 1
      if (decision.verdict.kind === 'denied') refused += 1
      for (const [stage, ms] of Object.entries(decision.stagesMs)) {
        stageMicros[stage] = (stageMicros[stage] ?? 0) + ms * 1000
      }
      return recorder.decision(decision, durationMs)
    },
  }
  const prompts = createPromptReader({
    workerFile: new URL('../src/prompt/worker.js', import.meta.url),
    workers: 1,
    inlineBytes: INLINE_BYTES,
    timeoutMs: 30_000,
    maxOpenBytes: 512 * 1024 * 1024,
    encodings: ['cl100k_base'],
    clock: systemClock,
  })
  await prompts.ready()
  // That fails where the store is away, and is tried again.
  setInterval(() => void ledger.expire(systemClock.nowEpochMs()).catch(() => undefined), 1000)

  let ids = 0
  const services = createServices({
    snapshot: () => ({ policy, authenticator }),
    prompts,
    ledger,
    rates: createGenerationRates(),
    clock: systemClock,
    randomId: () => `bench-${String((ids += 1))}`,
    lateReports: createLateReports(),
    recorder: counting,
  })
  return {
    credentials,
    add: (server) => {
      services.addTo(server, undefined)
    },
  }
}

const { credentials, add } =
  kind === 'tollgate' ? await createTollgate() : { credentials: ['x'.repeat(400)], add: addNoop }
const path = join(directory, 'grpc.sock')
await listen({
  address: { kind: 'unix', path },
  tls: undefined,
  maxBodyBytes: BODY_BYTES,
  maxConcurrentStreams: 1000,
  addServices: add,
})

let cpu = process.cpuUsage()
process.on('message', () => {
  const used = process.cpuUsage(cpu)
  cpu = process.cpuUsage()
  const sample: Sample = {
    kind: 'sampled',
    cpuMicros: used.user + used.system,
    longestLoopDelayMs: loopDelay.max / 1e6,
    decisions,
    refused,
    stageMicros,
  }
  decisions = 0
  refused = 0
  stageMicros = {}
  loopDelay.reset()
  process.send?.(sample)
})
process.on('disconnect', () => process.exit(0))
const listening: Listening = { kind: 'listening', address: `unix:${path}`, credentials }
process.send?.(listening)
