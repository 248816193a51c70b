import { describe, expect, test } from 'vitest'
import { AbandonedError, ConfigError, DependencyError, InvalidCallError } from '../../src/errors.js'
import { createLog } from '../../src/telemetry/log.js'
import type { Log, LogLevel } from '../../src/telemetry/log.js'
import { createMetrics } from '../../src/telemetry/metrics.js'
import { createRecorder } from '../../src/telemetry/record.js'
import { allowed, denied } from './sample-decisions.js'

function capture(level: LogLevel = 'debug'): {
  log: Log
  lines: () => string[]
  last: () => unknown
} {
  let text = ''
  const log = createLog({ level, destination: { write: (chunk: string) => (text += chunk) } })
  const lines = (): string[] => text.split('\n').slice(0, -1)
  return { log, lines, last: () => JSON.parse(lines().at(-1) ?? '') as unknown }
}

/** The value `depth` objects down. */
function nested(depth: number, value: unknown): unknown {
  return depth === 0 ? value : { inner: nested(depth - 1, value) }
}

describe('a log line', () => {
  test('is one JSON object with time, level and message, and names neither host nor process', () => {
    const { log, last } = capture()
    log.info({ generation: 'abc', count: 3 }, 'policy loaded')
    expect(last()).toEqual({
      level: 'info',
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/) as string,
      generation: 'abc',
      count: 3,
      msg: 'policy loaded',
    })
  })

  test('is not written below the level', () => {
    const { log, lines } = capture('warn')
    log.debug('a')
    log.info({ b: 1 }, 'b')
    log.warn('c')
    log.error('d')
    expect(lines().map((line) => (JSON.parse(line) as { msg: string }).msg)).toEqual(['c', 'd'])
  })

  test('stays one line whatever is in it', () => {
    const { log, lines, last } = capture()
    const hostile = 'a\r\nb\u0000\u001b[31m{"level":"fatal"}\n'
    log.info({ detail: hostile, [hostile]: 1 }, 'm')
    expect(lines().length).toBe(1)
    expect(last()).toMatchObject({ detail: hostile })
  })

  test('is bounded in length, number and depth, and nothing in it can throw', () => {
    const { log, lines } = capture()
    const cycle: Record<string, unknown> = {}
    cycle['self'] = cycle
    const values: unknown[] = [
      'x'.repeat(10_000_000),
      Array(1_000_000).fill('x'),
      Object.fromEntries(Array.from({ length: 100_000 }, (_, at) => [String(at), at])),
      nested(5000, 'deep'),
      cycle,
      Buffer.alloc(1_000_000),
      new Map([['a', 1]]),
      10n,
      Symbol('s'),
      () => 1,
      undefined,
      Number.NaN,
    ]
    for (const value of values) log.info({ value }, 'm')
    expect(lines().length).toBe(values.length)
    for (const line of lines()) expect(line.length).toBeLessThan(20_000)
  })

  test('can be one that is JSON already', () => {
    const { log, lines } = capture()
    log.line('{"type":"checkpoint"}')
    expect(lines()).toEqual(['{"type":"checkpoint"}'])
  })
})

describe('an error in the log', () => {
  test('of our own keeps its message, its code and its cause', () => {
    const { log, last } = capture()
    const cause = Object.assign(new Error('canary'), { code: 'ENOSPC' })
    log.error({ error: new DependencyError('audit', 'could not be written', { cause }) }, 'failed')
    expect(last()).toMatchObject({
      error: {
        name: 'DependencyError',
        message: 'could not be written',
        cause: { name: 'Error', code: 'ENOSPC' },
      },
    })
  })

  test.each([
    new AbandonedError('ours'),
    new InvalidCallError('invalid_argument', 'ours'),
    new ConfigError([{ file: 'f', line: 1, key: 'k', value: '', expected: 'ours' }]),
  ])('of ours keeps its message: $name', (error) => {
    const { log, last } = capture()
    log.error(error, 'failed')
    expect(JSON.stringify(last())).toContain('ours')
  })

  test('of anybody else says what and where, and nothing of its message', () => {
    const { log, lines, last } = capture()
    try {
      JSON.parse('canary-of-the-prompt')
    } catch (error) {
      log.error({ error }, 'failed')
    }
    expect(lines()[0]).not.toContain('canary')
    expect(last()).toMatchObject({ error: { name: 'SyntaxError' } })
    expect(lines()[0]).toContain('log.test.ts')
  })

  test('cannot smuggle its message in as a frame of the stack', () => {
    const { log, lines } = capture()
    log.error({ error: new Error('x\n    at canary (canary.js:1:1)') }, 'a')
    const changed = new Error('before')
    changed.message = 'canary'
    changed.stack = 'Error: other\n    at canary (canary.js:1:1)'
    log.error({ error: changed }, 'b')
    expect(lines().join()).not.toContain('canary')
  })
})

describe('50 secrets', () => {
  const canaries = Array.from({ length: 50 }, (_, at) => `canary-${String(at)}-secret`)

  /** Shapes in which a secret could reach the log; each takes one. */
  const shapes: readonly ((secret: string, log: Log) => void)[] = [
    (secret, log) => log.info({ authorization: secret }, 'm'),
    (secret, log) => log.info({ Authorization: `Bearer ${secret}` }, 'm'),
    (secret, log) => log.info({ headers: { 'x-request-id': secret } }, 'm'),
    (secret, log) => log.info({ headers: new Map([['authorization', [secret]]]) }, 'm'),
    (secret, log) => log.info({ nested: { 'x-api-key': secret } }, 'm'),
    (secret, log) => log.info({ a: { b: { cookie: secret } } }, 'm'),
    (secret, log) => log.info({ a: { b: { c: { d: { e: secret } } } } }, 'm'),
    (secret, log) => log.info({ list: [{ set_cookie: secret }] }, 'm'),
    (secret, log) => log.info({ body: Buffer.from(secret) }, 'm'),
    (secret, log) => log.info({ value: Buffer.from(secret) }, 'm'),
    (secret, log) => log.info({ body: secret, prompt: secret, messages: [secret] }, 'm'),
    (secret, log) => log.info({ segments: [{ text: secret }] }, 'm'),
    (secret, log) => log.info({ item: { text: secret, content: secret } }, 'm'),
    (secret, log) => log.info({ principal: { subject: secret } }, 'm'),
    (secret, log) => log.info({ tenant: secret, subject: secret, client: secret }, 'm'),
    (secret, log) => log.info({ claims: { email: secret } }, 'm'),
    (secret, log) => log.info({ note: `sent Bearer ${secret} to us` }, 'm'),
    (secret, log) => log.info({ note: `basic ${secret}` }, 'm'),
    (secret, log) => log.info({ note: `eyJhbGciOiJFUzI1NiJ9.${secret}.${secret}` }, 'm'),
    (secret, log) => log.info({ note: `key sk-${secret}` }, 'm'),
    (secret, log) => log.info({ note: `key tgk_${secret}` }, 'm'),
    (secret, log) => log.info({ password: secret, secret, clientSecret: secret }, 'm'),
    (secret, log) => log.error({ error: new Error(secret) }, 'm'),
    (secret, log) => log.error(new TypeError(secret), 'm'),
    (secret, log) =>
      log.error({ error: Object.assign(new Error('m'), { request: secret, code: secret }) }, 'm'),
    (secret, log) =>
      log.error({ error: new DependencyError('ledger', 'down', { cause: secret }) }, 'm'),
    (secret, log) =>
      log.error(
        { error: new DependencyError('ledger', 'down', { cause: new Error(secret) }) },
        'm',
      ),
    (secret, log) => log.error({ error: new AggregateError([new Error(secret)], secret) }, 'm'),
    (secret, log) => log.info({ url: new URL(`https://example.com/?key=${secret}`) }, 'm'),
    (secret, log) => log.info({ long: 'x'.repeat(600) + secret }, 'm'),
    (secret, log) => log.info({ reservationId: secret, reservation: { id: secret } }, 'm'),
    (secret, log) => log.info({ toJSON: () => secret }, 'm'),
    (secret, log) => log.info({ value: { toJSON: () => secret } }, 'm'),
  ]

  test('through every shape: none is in the output', () => {
    const { log, lines } = capture()
    for (const secret of canaries) for (const shape of shapes) shape(secret, log)
    expect(lines().length).toBe(canaries.length * shapes.length)
    expect(lines().filter((line) => line.includes('canary'))).toEqual([])
  })

  test('through decisions, ends and failures: none is in the log or the metrics', async () => {
    const { log, lines } = capture()
    const metrics = createMetrics()
    const clock = { nowEpochMs: () => 0, monotonicMs: () => 0 }
    const recorder = createRecorder({ log, metrics, audit: undefined, auditRequired: false, clock })
    for (const secret of canaries) {
      const { request } = allowed()
      const changes = {
        principal: {
          issuer: 'https://idp.example',
          subject: secret,
          tenant: secret,
          groups: [secret],
          scopes: [secret],
          client: secret,
          expiresAtEpochMs: 0,
        },
        request: {
          ...request,
          headers: new Map([['authorization', [`Bearer ${secret}`]]]),
          body: Buffer.from(secret),
          peer: secret,
          context: { label: secret },
        },
      }
      await recorder.decision(allowed(changes), 1)
      await recorder.decision(denied('prompt_injection', changes), 1)
      const stranger = { ...request, path: `/v1/${secret}` }
      for (const reason of ['route_unknown', 'path_invalid', 'headers_invalid'] as const) {
        await recorder.decision(denied(reason, { dialect: undefined, request: stranger }), 1)
      }
      recorder.failure('check', new Error(secret))
      recorder.failure('give_back', secret)
      recorder.failure('report', { secret })
    }
    expect(lines().length).toBe(canaries.length * 8)
    expect(lines().filter((line) => line.includes('canary'))).toEqual([])
    expect(await metrics.render()).not.toContain('canary')
  })
})
