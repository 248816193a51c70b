import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { patient } from './durations.js'
import { chat, eventually, startTestStack } from './stack.js'

// Envoy's rate limit filter on the way in, beside the one that sends the report: both ask Tollgate, in two domains.

const limits = mkdtempSync(join(tmpdir(), 'tg-limits-'))
writeFileSync(
  join(limits, 'edge.yaml'),
  `
domain: edge
descriptors:
  - { key: tenant, rate_limit: { unit: year, requests_per_unit: 50 } }
  - { key: tenant, value: umbra, rate_limit: { unit: year, requests_per_unit: 2 } }
  - { key: slot, rate_limit: { unit: year, requests_per_unit: 1 } }
`,
)

const tenant = {
  metadata: {
    descriptor_key: 'tenant',
    metadata_key: { key: 'envoy.filters.http.ext_authz', path: [{ key: 'tenant' }] },
  },
}
/** Of the requests with the header alone. */
const slot = { request_headers: { header_name: 'x-slot', descriptor_key: 'slot' } }
const type = (name: string) =>
  `type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.${name}`

interface Filter {
  readonly name: string
  readonly typed_config: Record<string, unknown>
}

/** Adds the filter after the one that sends the report, and its descriptors where that has its own. */
function withLimits(config: string): string {
  const added = {
    rate_limits: [
      { actions: [tenant] },
      { actions: [slot], hits_addend: { number: 1 } },
      // Given back when the stream is over.
      {
        actions: [slot],
        hits_addend: { number: 1, is_negative_hits: true },
        apply_on_stream_done: true,
      },
    ],
  }
  return JSON.stringify(
    JSON.parse(config, (key, value: unknown) => {
      if (key === 'http_filters') {
        const filters = value as readonly Filter[]
        const report = filters.findIndex(({ name }) => name === 'envoy.filters.http.ratelimit')
        const { typed_config: settings } = filters[report] as Filter
        const own = { ...settings, domain: 'edge', enable_x_ratelimit_headers: 'DRAFT_VERSION_03' }
        return filters.toSpliced(report + 1, 0, { name: 'limits', typed_config: own })
      }
      const isReport =
        key === 'typed_per_filter_config' &&
        Object.hasOwn(value as object, 'envoy.filters.http.ratelimit')
      return isReport
        ? { ...(value as object), limits: { '@type': type('RateLimitPerRoute'), ...added } }
        : value
    }),
  )
}

const stack = await startTestStack(
  (policy) => {
    policy['rateLimitService'] = { configDir: limits, responseHeaders: { enabled: true } }
  },
  (config) => withLimits(patient(config)),
)
const { nodeA } = stack
afterAll(() => {
  rmSync(limits, { recursive: true })
})

test('a limit per tenant on the way in, by what Check said of the caller', async () => {
  const [first, second, third] = [
    await stack.send({ caller: 'carol', body: chat() }),
    await stack.send({ caller: 'carol', body: chat() }),
    await stack.send({ caller: 'carol', body: chat() }),
  ]
  expect([first.status, second.status, third.status]).toEqual([200, 200, 429])
  // Tollgate's own headers, and those that Envoy makes of the statuses: they belong to what is nearest its limit.
  expect(second.headers.get('ratelimit-limit')).toBe('2')
  expect(second.headers.get('ratelimit-remaining')).toBe('0')
  expect(third.headers.get('ratelimit-remaining')).toBe('0')
  expect(third.headers.get('x-ratelimit-limit')).toContain('2;w=31536000')
  expect(third.headers.get('x-envoy-ratelimited')).toBe('true')
  expect((await stack.send({ caller: 'alice', body: chat() })).status).toBe(200)

  // What was refused after Check had reserved for it has reached no engine: its report releases it.
  expect(nodeA.served).toHaveLength(3)
  expect(await stack.settledUsage('carol', 'user-parallel')).toMatchObject({ reserved: 0 })
  const used = nodeA.served
    .slice(0, 2)
    .reduce((sum, { generation }) => sum + generation.inputTokens + generation.outputTokens, 0)
  expect(await stack.settledUsage('carol', 'tenant-day')).toMatchObject({ spent: used })
})

test('hits that Envoy gives back at the end of a stream', async () => {
  nodeA.behave({ hold: true })
  const headers = { 'x-slot': 'only' }
  const holder = stack.send({ caller: 'alice', headers, body: chat() })
  const before = nodeA.served.length
  await eventually(() => {
    expect(nodeA.served.length).toBeGreaterThan(before)
  })
  const second = await stack.send({ caller: 'bob', headers, body: chat({ model: 'qwen' }) })
  expect(second.status).toBe(429)
  nodeA.release()
  expect((await holder).status).toBe(200)
  nodeA.behave({ hold: false })
  // The hit of the one that was refused is given back as well.
  await eventually(async () => {
    expect((await stack.send({ caller: 'alice', headers, body: chat() })).status).toBe(200)
  })
})
