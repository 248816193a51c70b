import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { lstatSync, mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import type { Admission } from '../src/admission.js'
import { listenForAdmin, listenForProbes } from '../src/admin/listeners.js'
import type { HttpListener } from '../src/admin/listeners.js'
import { createRateLimitService } from '../src/envoy/rate-limit-service.js'
import { DependencyError } from '../src/errors.js'
import { partitionKey } from '../src/quota/keys.js'
import { createMemoryLedger } from '../src/quota/memory/memory-ledger.js'
import type { Quota } from '../src/quota/quota.js'
import { createMemoryCounters } from '../src/ratelimit/memory-counters.js'
import { buildConfig } from '../src/ratelimit/tree.js'
import { createMetrics } from '../src/telemetry/metrics.js'
import { examplePolicy } from './example-policy.js'
import { exampleAdmission } from './example-admission.js'
import { at } from './ratelimit/rig.js'

const nowEpochMs = Date.UTC(2026, 0, 1)
const clock = { nowEpochMs: () => nowEpochMs, monotonicMs: () => 0 }
const anyPort = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const

const listeners: HttpListener[] = []
afterEach(async () => {
  await Promise.all(listeners.splice(0).map((listener) => listener.stop()))
})

interface Answer {
  readonly status: number
  readonly body: string
}

async function get(listener: HttpListener, path: string, method = 'GET'): Promise<Answer> {
  const answer = await fetch(`http://${listener.address}${path}`, { method })
  return { status: answer.status, body: await answer.text() }
}

describe('the listener for probes', () => {
  async function probes(ready: () => boolean): Promise<HttpListener> {
    const listener = await listenForProbes(anyPort, { metrics: createMetrics(), ready })
    listeners.push(listener)
    return listener
  }

  test('tells liveness and readiness apart', async () => {
    let ready = false
    const listener = await probes(() => ready)
    expect((await get(listener, '/healthz')).status).toBe(200)
    expect((await get(listener, '/readyz')).status).toBe(503)
    ready = true
    expect((await get(listener, '/readyz')).status).toBe(200)
  })

  test('shows the metrics', async () => {
    const { status, body } = await get(await probes(() => true), '/metrics')
    expect(status).toBe(200)
    expect(body).toContain('# TYPE tollgate_decisions_total counter')
  })

  test.each(['/usage?tenant=acme', '/', '/metrics/', '/__proto__'])(
    'has nothing else, least of all what names a caller: %s',
    async (path) => {
      expect((await get(await probes(() => true), path)).status).toBe(404)
    },
  )

  test.each(['/metrics', '/healthz', '/readyz', '/nowhere'])(
    'has no answer kept by anybody on the way: %s',
    async (path) => {
      const answer = await fetch(`http://${(await probes(() => true)).address}${path}`)
      await answer.arrayBuffer()
      expect(answer.headers.get('cache-control')).toBe('no-store')
    },
  )

  test('only answers', async () => {
    expect((await get(await probes(() => true), '/healthz', 'POST')).status).toBe(405)
  })
})

describe('connections that ask for nothing', () => {
  const bound = 64
  const sockets: Socket[] = []
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy()
  })

  async function open(listener: HttpListener): Promise<Socket> {
    const [host, port] = listener.address.split(':')
    const socket = connect({ host, port: Number(port) })
    sockets.push(socket)
    // One that the listener closes is told by its end, or by a reset.
    socket.on('error', () => undefined)
    await new Promise((resolve) => socket.once('connect', resolve))
    return socket
  }

  const gone = (socket: Socket): Promise<unknown> =>
    new Promise((resolve) => socket.resume().once('close', resolve))

  /** The beginning of the answer on a connection that stays open. */
  function ask(socket: Socket, path: string): Promise<string> {
    const answer = new Promise<string>((resolve) => {
      socket.once('data', (bytes: Buffer) => {
        resolve(bytes.toString('latin1').slice(0, 12))
      })
      socket.once('close', () => {
        resolve('closed')
      })
    })
    socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`)
    return answer
  }

  /** `/metrics` is answered when it is let go. */
  async function held(): Promise<{
    readonly listener: HttpListener
    readonly asked: () => Promise<void>
    readonly letGo: () => void
  }> {
    let letGo = (): void => undefined
    const answer = new Promise<string>((resolve) => {
      letGo = () => {
        resolve('')
      }
    })
    let count = 0
    let onAsked = (): void => undefined
    const metrics = createMetrics()
    const render = (): Promise<string> => {
      count += 1
      onAsked()
      return answer
    }
    const listener = await listenForProbes(anyPort, {
      metrics: { ...metrics, render },
      ready: () => true,
    })
    listeners.push(listener)
    let seen = 0
    return {
      listener,
      letGo,
      async asked() {
        seen += 1
        while (count < seen) await new Promise<void>((resolve) => (onAsked = resolve))
      },
    }
  }

  test('do not keep a probe out: the one that has been idle longest makes room', async () => {
    const { listener } = await held()
    const idle: Socket[] = []
    for (let at = 0; at < bound; at += 1) idle.push(await open(listener))
    const [first, second, ...others] = idle
    if (first === undefined || second === undefined) throw new Error()
    // It asked since, so that the second has been idle longest.
    expect(await ask(first, '/healthz')).toBe('HTTP/1.1 200')
    const closed = gone(second)
    expect((await get(listener, '/healthz')).status).toBe(200)
    await closed
    expect(await ask(first, '/readyz')).toBe('HTTP/1.1 200')
    for (const socket of others) expect(await ask(socket, '/readyz')).toBe('HTTP/1.1 200')
  })

  test('make room before one that is being answered', async () => {
    const { listener, asked, letGo } = await held()
    const scraper = await open(listener)
    const answer = ask(scraper, '/metrics')
    await asked()
    const idle: Socket[] = []
    for (let at = 1; at < bound; at += 1) idle.push(await open(listener))
    const closed = gone(idle[0] ?? scraper)
    expect((await get(listener, '/healthz')).status).toBe(200)
    await closed
    letGo()
    expect(await answer).toBe('HTTP/1.1 200')
  })

  test('where all are being answered, the one that asked first makes room', async () => {
    const { listener, asked, letGo } = await held()
    const answers: Promise<string>[] = []
    for (let at = 0; at < bound; at += 1) {
      answers.push(ask(await open(listener), '/metrics'))
      await asked()
    }
    expect((await get(listener, '/healthz')).status).toBe(200)
    letGo()
    expect(await Promise.all(answers)).toEqual([
      'closed',
      ...Array<string>(63).fill('HTTP/1.1 200'),
    ])
  })
})

test('a request whose head does not come to its end gives its place back', async () => {
  const listener = await listenForProbes(anyPort, { metrics: createMetrics(), ready: () => true })
  listeners.push(listener)
  const [host, port] = listener.address.split(':')
  const socket = connect({ host, port: Number(port) })
  socket.write('GET /healthz HTTP/1.1\r\nhost: x\r\n')
  // Node would wait for a minute, longer than this test may take.
  const [answer] = (await once(socket, 'data')) as [Buffer]
  expect(answer.toString('latin1')).toMatch(/^HTTP\/1\.1 408 /)
})

describe('/usage', () => {
  const perUser: Quota = {
    name: 'user-minute',
    unit: 'tokens',
    limit: 1000,
    window: { kind: 'sliding', lengthMs: 60_000 },
    by: ['tenant', 'subject'],
    groups: [],
    models: [],
    shadow: false,
  }
  const perModel: Quota = { ...perUser, name: 'model-minute', by: ['model'] }

  async function admin(
    address: Parameters<typeof listenForAdmin>[0] = anyPort,
    quotas: readonly Quota[] = [perUser, perModel],
  ) {
    const ledger = createMemoryLedger<Admission>()
    const caller = {
      tenant: 'acme',
      subject: 'alice',
      client: undefined,
      apiKey: undefined,
      groups: [],
      model: 'm',
      pool: 'gpu',
      route: '/v1/completions',
      spiffe: undefined,
      claims: new Map(),
    }
    const hold = { quota: perUser, partitionKey: partitionKey(perUser, caller), amount: 300 }
    const context = exampleAdmission({ auditId: 'a', model: 'm', outputTokens: 200 })
    await ledger.reserve(
      { id: 'r', idempotencyKey: 'k', holds: [hold], context, leaseMs: 60_000 },
      nowEpochMs,
    )
    const policy = examplePolicy({ quotas })
    const listener = await listenForAdmin(address, { policy: () => policy, ledger, clock })
    listeners.push(listener)
    return { listener, ledger }
  }

  async function rows(listener: HttpListener, query: string) {
    const { body } = await get(listener, `/usage?${query}`)
    return (JSON.parse(body) as { quotas: Record<string, unknown>[] }).quotas
  }

  test('shows what each quota has left and what was spent', async () => {
    const { listener, ledger } = await admin()
    expect(await rows(listener, 'tenant=acme&subject=alice')).toMatchObject([
      { quota: 'user-minute', limit: 1000, spent: 0, reserved: 300, debt: 0, remaining: 700 },
      { quota: 'model-minute', needs: ['model'] },
    ])
    await ledger.end('r', { kind: 'settled', inputTokens: 100, outputTokens: 250 }, nowEpochMs)
    expect(await rows(listener, 'tenant=acme&subject=alice&model=m')).toMatchObject([
      { quota: 'user-minute', spent: 300, reserved: 0, debt: 50, remaining: 650 },
      { quota: 'model-minute', spent: 0, remaining: 1000 },
    ])
  })

  test('says whose each balance is: null where the query names no client and no group of the quota', async () => {
    const quota = { ...perUser, by: ['client', 'group', 'tenant'] as const, groups: ['sales'] }
    const { listener } = await admin(anyPort, [quota])
    expect(await rows(listener, 'tenant=acme&client=app&group=sales')).toMatchObject([
      { partition: { tenant: 'acme', client: 'app', group: 'sales' } },
    ])
    expect(await rows(listener, 'tenant=acme&group=unheard-of')).toMatchObject([
      { partition: { tenant: 'acme', client: null, group: null } },
    ])
  })

  test('refuses a parameter that it does not know, rather than answer another question', async () => {
    const { listener } = await admin()
    const { status, body } = await get(listener, '/usage?tenant=acme&user=alice')
    expect(status).toBe(400)
    expect(body).toBe(
      'unknown parameter; it takes tenant, subject, client, model, group, pool, route, spiffe, api_key, claim:NAME\n',
    )
  })

  test('tells one caller from another', async () => {
    const { listener } = await admin()
    expect(await rows(listener, 'tenant=acme&subject=bob')).toMatchObject([{ remaining: 1000 }, {}])
    expect(await rows(listener, 'tenant=other&subject=alice')).toMatchObject([
      { remaining: 1000 },
      {},
    ])
  })

  test('asks for a tenant', async () => {
    const { listener } = await admin()
    for (const path of ['/usage', '/usage?tenant=']) {
      const { status, body } = await get(listener, path)
      expect(status).toBe(400)
      expect(body).toContain('/usage?tenant=')
    }
  })

  test('comes over a Unix socket as well', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tollgate-admin-'))
    const path = join(directory, 'admin.sock')
    const { listener } = await admin({ kind: 'unix', path })
    expect(listener.address).toBe(`unix://${path}`)
    const status = await new Promise((resolve, reject) => {
      request({ socketPath: path, path: '/usage?tenant=acme' }, (response) => {
        response.resume()
        resolve(response.statusCode)
      })
        .on('error', reject)
        .end()
    })
    expect(status).toBe(200)
    rmSync(directory, { recursive: true })
  })

  test('takes over a Unix socket that a killed process left, and none on which another answers', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tollgate-admin-'))
    const path = join(directory, 'admin.sock')
    spawnSync(process.execPath, [
      '-e',
      `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`,
    ])
    expect(lstatSync(path).isSocket()).toBe(true)
    await admin({ kind: 'unix', path })
    const taken = lstatSync(path).ino
    await expect(admin({ kind: 'unix', path })).rejects.toThrow('another process listens')
    expect(lstatSync(path).ino).toBe(taken)
    rmSync(directory, { recursive: true })
  })
})

test('a port that is taken is an error, and not a listener that nobody reaches', async () => {
  const first = await listenForProbes(anyPort, { metrics: createMetrics(), ready: () => true })
  listeners.push(first)
  const port = Number(first.address.split(':')[1])
  await expect(
    listenForProbes({ ...anyPort, port }, { metrics: createMetrics(), ready: () => true }),
  ).rejects.toMatchObject({ code: 'EADDRINUSE' })
})

describe('the pages of the rate limit service', () => {
  const metadata = { text: 't', number: 1.5, flag: false, nothing: null, list: [2, { x: true }] }
  const config = buildConfig([
    {
      domain: 'd',
      descriptors: [
        at('one', '1/day', { name: 'lim' }),
        at('a=b', undefined, { below: [at('c', '5/second', { shadowMode: true })] }),
        at('vip', 'unlimited'),
        at('told', '9/day', { quotaMode: true, metadata }),
      ],
    },
  ])
  let serving = true
  const failures: unknown[] = []
  const counters = createMemoryCounters({ clock, stopWhenOver: false })

  async function pages(changes: Partial<typeof counters> = {}): Promise<HttpListener> {
    const service = createRateLimitService({
      config: () => config,
      counters: { ...counters, ...changes },
      ...{ shadowMode: false, quotaMode: false, nearLimitRatio: 0.8 },
      responseDynamicMetadata: true,
      headers: { limit: 'L', remaining: 'R', reset: 'S' },
      onAnswer: () => undefined,
    })
    const usage = { policy: examplePolicy, ledger: createMemoryLedger<Admission>(), clock }
    const listener = await listenForAdmin(anyPort, usage, {
      service,
      config: () => config,
      isServing: () => serving,
      onFailure: (error) => failures.push(error),
    })
    listeners.push(listener)
    return listener
  }

  async function post(listener: HttpListener, body: object | string): Promise<Answer> {
    const answer = await fetch(`http://${listener.address}/json`, {
      method: 'POST',
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
    return { status: answer.status, body: await answer.text() }
  }

  test('S74: /json answers a call, 200 or 429', async () => {
    const listener = await pages()
    const call = { domain: 'd', descriptors: [{ entries: [{ key: 'one', value: 'x' }] }] }
    const first = await post(listener, call)
    expect(first.status).toBe(200)
    expect(JSON.parse(first.body)).toEqual({
      overallCode: 'OK',
      statuses: [
        {
          code: 'OK',
          currentLimit: { requestsPerUnit: 1, unit: 'DAY', name: 'lim' },
          durationUntilReset: '86400s',
        },
      ],
      responseHeadersToAdd: [
        { key: 'L', value: '1' },
        { key: 'R', value: '0' },
        { key: 'S', value: '86400' },
      ],
      dynamicMetadata: {
        domain: 'd',
        descriptors: [{ entries: ['one=x'] }],
        quotaModeEnabled: false,
      },
    })
    const second = await post(listener, call)
    expect(second.status).toBe(429)
    expect(JSON.parse(second.body)).toMatchObject({ overallCode: 'OVER_LIMIT' })
  })

  test('/json leaves out a limit of 0, as all that is zero', async () => {
    const limit = { requestsPerUnit: 0, unit: 'DAY' }
    const descriptors = [{ entries: [{ key: 'x', value: 'none' }], limit }]
    const { body } = await post(await pages(), { domain: 'd', descriptors })
    const { statuses } = JSON.parse(body) as { statuses: readonly unknown[] }
    expect(statuses).toEqual([
      { code: 'OVER_LIMIT', currentLimit: { unit: 'DAY' }, durationUntilReset: '86400s' },
    ])
  })

  test('/json reads every field, under both of its names', async () => {
    const answer = await post(await pages(), {
      domain: 'd',
      hits_addend: 3,
      descriptors: [
        {
          entries: [{ key: 'x', value: 'y' }],
          limit: { requests_per_unit: 9, unit: 'WEEK', unitMultiplier: null },
          isNegativeHits: false,
        },
        { entries: [{ key: 'x', value: 'z' }], limit: { requestsPerUnit: 9, unit: 1 } },
        {
          entries: [{ key: 'x', value: 'z' }],
          limit: { requestsPerUnit: 9, unit: 1 },
          hitsAddend: '2',
          is_negative_hits: true,
        },
      ],
    })
    const { statuses } = JSON.parse(answer.body) as { statuses: { limitRemaining?: number }[] }
    expect(statuses.map(({ limitRemaining }) => limitRemaining)).toEqual([6, 6, 8])
  })

  test('S46: /json tells metadata of a rule as its file says it', async () => {
    const descriptors = [{ entries: [{ key: 'told', value: 'x' }] }]
    const { body } = await post(await pages(), { domain: 'd', descriptors })
    expect(JSON.parse(body)).toMatchObject({ dynamicMetadata: { metadata } })
  })

  test('S8, S25, S26, S31: over /json an addend of 0 of a descriptor asks and counts nothing', async () => {
    const asked = {
      entries: [{ key: 'x', value: 'zero' }],
      limit: { requestsPerUnit: 9, unit: 'DAY' },
    }
    const answer = await post(await pages(), {
      domain: 'd',
      hitsAddend: 5,
      descriptors: [0, '0', null].map((hitsAddend) => ({ ...asked, hitsAddend })),
    })
    const { statuses } = JSON.parse(answer.body) as { statuses: { limitRemaining?: number }[] }
    // Null is what is not there: the addend of the call.
    expect(statuses.map(({ limitRemaining }) => limitRemaining)).toEqual([9, 9, 4])
  })

  test.each(['9223372036854775807', '9223372036854775808', '18446744073709551615', 2 ** 63])(
    'S8: over /json an addend of a descriptor as large as 64 bits hold is over, and stays so: %s',
    async (hitsAddend) => {
      const listener = await pages()
      for (const hits of [hitsAddend, 0]) {
        const entries = [{ key: 'x', value: `huge-${String(hitsAddend)}` }]
        const limit = { requestsPerUnit: 4_294_967_295, unit: 'DAY' }
        const descriptors = [{ entries, limit, hitsAddend: hits }]
        expect((await post(listener, { domain: 'd', descriptors })).status).toBe(429)
      }
    },
  )

  test.each([
    ['SECOND', 1],
    ['MINUTE', 2],
    ['HOUR', 3],
    ['DAY', 4],
    ['MONTH', 5],
    ['YEAR', 6],
    ['WEEK', 7],
  ])('S32, S34: /json takes a limit for a %s, by name and number', async (name, number) => {
    const answer = await post(await pages(), {
      domain: 'd',
      descriptors: [name, number].map((unit) => ({
        entries: [{ key: 'x', value: `each-${name}` }],
        limit: { requestsPerUnit: 9, unit },
      })),
    })
    expect(JSON.parse(answer.body)).toMatchObject({
      statuses: [
        { currentLimit: { unit: name }, limitRemaining: 8 },
        { currentLimit: { unit: name }, limitRemaining: 7 },
      ],
    })
  })

  /** A call that is answered, but for what is wrong with it: in itself, in its descriptor, or in the limit of that. */
  const wrong = (ofCall: object, ofDescriptor: object = {}, ofLimit: object = {}): object => {
    const limit = { requestsPerUnit: 9, unit: 'DAY', ...ofLimit }
    const descriptor = { entries: [{ key: 'x', value: 'wrong' }], limit, ...ofDescriptor }
    return { domain: 'd', descriptors: [descriptor], ...ofCall }
  }

  test('/json answers a call with which nothing is wrong', async () => {
    expect((await post(await pages(), wrong({}))).status).toBe(200)
  })

  const noNumber = 'something else where a whole number has to be, or one out of range'
  const noText = 'something else where a text has to be'
  test.each<readonly [string, object | string, string]>([
    ['garbage', '{', 'no JSON'],
    ['no message', '[]', 'something else where a message has to be'],
    ['a field that is not known', wrong({ deskriptors: [] }), 'a field that is not known'],
    ['a field twice', wrong({ hitsAddend: 1, hits_addend: 2 }), 'a field twice'],
    ['what every object has', wrong({ constructor: {} }), 'a field that is not known'],
    ['a number for a text', wrong({ domain: 5 }), noText],
    [
      'a flag for the value of an entry',
      wrong({}, { entries: [{ key: 'x', value: true }] }),
      noText,
    ],
    ['a text for a list', wrong({ descriptors: 'x' }), 'something else where a list has to be'],
    ['a fraction', wrong({ hitsAddend: 1.5 }), noNumber],
    ['a number below 0', wrong({ hitsAddend: -1 }), noNumber],
    ['a text that is a number below 0', wrong({ hitsAddend: '-1' }), noNumber],
    ['a number beyond its type', wrong({ hitsAddend: 2 ** 32 }), noNumber],
    ['an addend of a descriptor beyond its type', wrong({}, { hitsAddend: 2 ** 65 }), noNumber],
    ['a limit beyond its type', wrong({}, {}, { requestsPerUnit: 2 ** 32 }), noNumber],
    ['a unit that is not known', wrong({}, {}, { unit: 'FORTNIGHT' }), noNumber],
    [
      'a text for a flag',
      wrong({}, { isNegativeHits: 'yes' }),
      'something else where true or false has to be',
    ],
    ['no domain', wrong({ domain: '' }), 'rate limit domain must not be empty'],
    ['no descriptor', { domain: 'd' }, 'rate limit descriptor list must not be empty'],
    ['a report', { domain: 'tollgate', descriptors: [{}] }, 'reports come by gRPC'],
  ])('S74: /json refuses %s', async (_name, body, message) => {
    expect(await post(await pages(), body)).toEqual({ status: 400, body: `${message}\n` })
  })

  test('/json refuses a body that is too long, and a call that fails is no answer', async () => {
    const long = JSON.stringify({ domain: 'd'.repeat(600_000) })
    expect((await post(await pages(), long)).status).toBe(413)
    const failing = await pages({
      count: () => Promise.reject(new DependencyError('rate_limit_store', '')),
    })
    failures.splice(0)
    const call = { domain: 'd', descriptors: [{ entries: [{ key: 'one', value: 'x' }] }] }
    expect((await post(failing, call)).status).toBe(503)
    expect(failures).toHaveLength(1)
    expect((await get(failing, '/json')).status).toBe(405)
  })

  test('/rlconfig shows the rules in force', async () => {
    expect((await get(await pages(), '/rlconfig')).body).toBe(
      [
        'd.one: unit=DAY requests_per_unit=1, shadow_mode: false, quota_mode: false',
        'd.a_b.c: unit=SECOND requests_per_unit=5, shadow_mode: true, quota_mode: false',
        'd.vip: unit=UNKNOWN requests_per_unit=0, shadow_mode: false, quota_mode: false',
        'd.told: unit=DAY requests_per_unit=9, shadow_mode: false, quota_mode: true',
        '',
      ].join('\n'),
    )
  })

  test('S75: /healthcheck says whether calls may be sent', async () => {
    const listener = await pages()
    serving = false
    expect((await get(listener, '/healthcheck')).status).toBe(500)
    serving = true
    expect(await get(listener, '/healthcheck')).toEqual({ status: 200, body: 'OK' })
  })

  test('without the service there are none', async () => {
    const usage = { policy: examplePolicy, ledger: createMemoryLedger<Admission>(), clock }
    const listener = await listenForAdmin(anyPort, usage)
    listeners.push(listener)
    for (const path of ['/json', '/rlconfig', '/healthcheck']) {
      expect((await get(listener, path)).status).toBe(404)
    }
  })
})
