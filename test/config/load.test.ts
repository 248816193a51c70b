import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'
import { checkFiles } from '../../src/config/check-files.js'
import { loadConfig, readConfig } from '../../src/config/load.js'
import { ConfigError } from '../../src/errors.js'
import { quotaUnitNames } from '../../src/quota/units.js'
import { fixtureFaults } from './fixture-faults.js'

const fixtures = new URL('fixtures/', import.meta.url)
const goodFixtures = ['smallest', 'everything', 'grant-unlimited']

function fixture(name: string): string {
  return readFileSync(new URL(`${name}.yaml`, fixtures), 'utf8')
}

/** The message of the refusal, one line per fault. */
function refusalOf(load: () => unknown): readonly string[] {
  try {
    load()
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split('\n')
    throw error
  }
  throw new Error('the file was not refused')
}

describe('a policy file with faults', () => {
  test.each(Object.entries(fixtureFaults))('is refused: %s', (name, faults) => {
    const file = `${name}.yaml`
    expect(refusalOf(() => loadConfig(file, fixture(name)))).toEqual(
      faults.map((fault) => `${file}:${fault}`),
    )
  })

  test('stands in a fixture whose message is known, for every fixture', () => {
    const names = readdirSync(fixtures).map((file) => file.replace('.yaml', ''))
    expect(names.sort()).toEqual([...Object.keys(fixtureFaults), ...goodFixtures].sort())
  })

  test('never shows a secret that was written in the wrong place', () => {
    const secret = 'hunter2-S3CR3T'
    const places = [
      `password: ${secret}\n`,
      `ledger: { kind: redis, password: ${secret} }\n`,
      `issuers: [{ issuer: "https://user:${secret}@idp.example.com" }]\n`,
      `audit: { file: a, keyFile: "-----BEGIN PRIVATE KEY-----\\n${secret}" }\n`,
      `log: { level: "${'x'.repeat(200)}${secret}" }\n`,
      `log: ${secret} level: x\n`,
      `"${secret}\n`,
    ]
    for (const place of places) {
      const message = refusalOf(() => loadConfig('policy.yaml', place)).join('\n')
      expect(message).not.toContain(secret)
    }
  })

  test('is refused by its size, unread', () => {
    expect(refusalOf(() => loadConfig('big.yaml', '#'.repeat(1_048_577)))).toEqual([
      'big.yaml: expected at most 1048576 bytes',
    ])
  })

  test('lists at most 200 faults and counts the rest', () => {
    const text = Array.from({ length: 1000 }, (_, index) => `key${String(index)}: 1`).join('\n')
    const lines = refusalOf(() => loadConfig('many.yaml', text))
    expect(lines).toHaveLength(201)
    expect(lines.at(-1)).toBe('many.yaml: expected fewer faults: 800 more are not listed')
  })

  test('is refused when its nesting has no end in sight', () => {
    for (const text of ['['.repeat(20_000), 'a: {'.repeat(5000)]) {
      expect(() => loadConfig('deep.yaml', text)).toThrow(ConfigError)
    }
  })
})

describe('a good policy file', () => {
  test.each(quotaUnitNames)('may count %s, as every unit there is', (unit) => {
    const window = unit === 'in_flight' ? '' : 'window: 1m, '
    const quota = `  - { name: one-more, unit: ${unit}, ${window}limit: 1, by: [] }\n`
    const prices = 'prices: { input: 0.5, output: 1.5 }, '
    const priced = fixture('smallest').replace('pool: ', `${prices}pool: `)
    const { policy } = loadConfig('policy.yaml', priced + quota)
    expect(policy.quotas.at(-1)).toMatchObject({ name: 'one-more', unit })
  })

  test('may be as short as this, with the documented defaults', () => {
    const { settings, policy } = loadConfig('/etc/policy.yaml', fixture('smallest'))
    expect(settings).toEqual({
      listen: {
        grpc: { kind: 'unix', path: '/run/tollgate/tollgate.sock' },
        tls: undefined,
        metrics: { kind: 'tcp', host: '0.0.0.0', port: 9192 },
        admin: { kind: 'tcp', host: '127.0.0.1', port: 9193 },
      },
      ledger: { kind: 'memory', maxPartitions: undefined },
      audit: undefined,
      limits: {
        maxBodyBytes: 8_388_608,
        maxConcurrentChecks: 1000,
        examinationTimeoutMs: 2000,
        examinationWorkers: 2,
        maxExaminationBytes: 268_435_456,
      },
      drain: { delayMs: 2000, deadlineMs: 20_000 },
      rateLimitService: undefined,
      log: { level: 'info' },
    })
    expect(policy).toMatchObject({
      issuers: [
        {
          issuer: 'https://idp.example.com',
          tenant: { kind: 'claim', claim: 'org' },
          groupsClaim: undefined,
          claims: [],
          clockToleranceMs: 30_000,
          maxLifetimeMs: 86_400_000,
          jwksCacheMs: 600_000,
          jwksStaleMs: 3_600_000,
          caFile: undefined,
          insecureHttp: false,
        },
      ],
      models: [
        {
          name: 'llama-70b',
          aliases: [],
          encoding: 'o200k_base',
          defaultOutputTokens: 1024,
          uncapped: 'cap',
          streamUsage: 'inject',
          stopsOnDisconnect: false,
          extraFields: [],
        },
      ],
      paths: [],
      grants: [{ name: 'grants[0]', anyone: false, maxOutputTokens: undefined, unlimited: false }],
      quotas: [
        {
          window: { kind: 'sliding', lengthMs: 60_000 },
          groups: [],
          models: [],
          shadow: false,
          onStoreFailure: 'deny',
        },
      ],
      inspection: {
        injection: { action: 'block', threshold: 0.9, untrustedThreshold: 0.7 },
        controlTokens: { action: 'block' },
        secrets: { action: 'block' },
        personalData: { action: 'flag', kinds: ['credit_card', 'iban', 'us_ssn'] },
        prohibited: [],
      },
      maxBodyBytes: 8_388_608,
      maxStreamMs: 1_800_000,
      leaseMs: 1_860_000,
      keepCredential: false,
    })
  })

  test('reads where a cluster is, which may have slices', () => {
    const text = readFileSync(new URL('everything.yaml', fixtures), 'utf8').replace(
      'url: rediss://redis.llm.svc:6380/2',
      'cluster: { nodes: ["rediss://a:6379", "rediss://b:6379"] }',
    )
    expect(text).toContain('slices: true')
    expect(loadConfig('/etc/tg/policy.yaml', text).settings.ledger).toMatchObject({
      address: { cluster: { nodes: ['rediss://a:6379', 'rediss://b:6379'] } },
    })
  })

  test('reads where Sentinels are, with a password file beside the policy', () => {
    const text = readFileSync(new URL('everything.yaml', fixtures), 'utf8').replace(
      'url: rediss://redis.llm.svc:6380/2',
      'sentinel: { master: mymaster, nodes: ["rediss://s:26379"], user: u, passwordFile: word }',
    )
    expect(loadConfig('/etc/tg/policy.yaml', text).settings.ledger).toMatchObject({
      address: {
        sentinel: {
          master: 'mymaster',
          nodes: ['rediss://s:26379'],
          user: 'u',
          passwordFile: '/etc/tg/word',
        },
        user: 'tollgate',
      },
    })
  })

  test('may say of the rate limit service where its files are, and no more', () => {
    const text = `${fixture('smallest')}rateLimitService: { configDir: limits }\n`
    expect(loadConfig('/etc/policy.yaml', text).settings.rateLimitService).toEqual({
      configDir: '/etc/limits',
      mergeDomains: false,
      mode: 'safe',
      store: { kind: 'memory' },
      perSecond: undefined,
      cacheKeyPrefix: '',
      expirationJitterMaxSeconds: 300,
      localCacheBytes: 0,
      nearLimitRatio: 0.8,
      stopWhenOver: false,
      shadowMode: false,
      quotaMode: false,
      responseDynamicMetadata: false,
      responseHeaders: undefined,
    })
  })

  test('has the rate limit service count where the ledger is', () => {
    for (const mode of ['safe', 'shared']) {
      for (const address of [{ url: 'redis://one' }, { cluster: { nodes: ['redis://one:1'] } }]) {
        const ledger = `ledger: ${JSON.stringify({ kind: 'redis', ...address })}`
        const service = `rateLimitService: { configDir: limits, mode: ${mode} }`
        const text = `${fixture('smallest')}${ledger}\n${service}\n`
        const { settings } = loadConfig('/etc/policy.yaml', text)
        expect(settings.ledger).toMatchObject({ address })
        expect(settings.rateLimitService?.store).toMatchObject({ kind: 'redis', address })
      }
    }
  })

  test('may have the rate limit service count elsewhere, and per second elsewhere again: each a server, Sentinel or Cluster', () => {
    const sentinel =
      "{ sentinel: { master: m, nodes: ['redis://s:1'], user: u, passwordFile: word } }"
    const cluster =
      "{ cluster: { nodes: ['redis://c:1'] }, user: u, passwordFile: /word, timeoutMs: 30 }"
    const service = `{ configDir: limits, mode: shared, redis: ${sentinel}, perSecond: ${cluster} }`
    const text = `${fixture('smallest')}rateLimitService: ${service}\n`
    const { rateLimitService } = loadConfig('/etc/policy.yaml', text).settings
    const nobody = { caFile: undefined, user: undefined, passwordFile: undefined }
    expect(rateLimitService?.store).toEqual({
      kind: 'redis',
      address: {
        ...nobody,
        sentinel: { master: 'm', nodes: ['redis://s:1'], user: 'u', passwordFile: '/etc/word' },
      },
      timeoutMs: 80,
    })
    expect(rateLimitService?.perSecond).toEqual({
      kind: 'redis',
      address: {
        ...nobody,
        ...{ user: 'u', passwordFile: '/word' },
        cluster: { nodes: ['redis://c:1'] },
      },
      timeoutMs: 30,
    })
  })

  test('sets every key', () => {
    const { settings, policy } = loadConfig('/etc/tg/policy.yaml', fixture('everything'))
    expect(settings).toEqual({
      listen: {
        grpc: { kind: 'tcp', host: '0.0.0.0', port: 9191 },
        tls: {
          certFile: '/etc/tg/tls/tollgate.pem',
          keyFile: '/etc/tg/tls/tollgate-key.pem',
          clientCaFile: '/etc/tollgate/ca.pem',
          allowedSans: ['spiffe://example.org/ns/llm/sa/envoy', 'envoy.llm.svc'],
        },
        metrics: { kind: 'tcp', host: '::', port: 9292 },
        admin: { kind: 'unix', path: '/run/tollgate/admin.sock' },
      },
      ledger: {
        kind: 'redis',
        address: {
          url: 'rediss://redis.llm.svc:6380/2',
          caFile: '/etc/tg/tls/redis-ca.pem',
          user: 'tollgate',
          passwordFile: '/etc/tollgate/redis-password',
        },
        timeoutMs: 40,
        maxPartitions: 50_000,
        processes: 3,
      },
      audit: {
        file: '/etc/tg/audit.jsonl',
        required: false,
        keyFile: '/etc/tg/keys/audit.pem',
        writeTimeoutMs: 250,
      },
      limits: {
        maxBodyBytes: 1_048_576,
        maxConcurrentChecks: 64,
        examinationTimeoutMs: 500,
        examinationWorkers: 1,
        maxExaminationBytes: 16_777_216,
      },
      drain: { delayMs: 0, deadlineMs: 1000 },
      rateLimitService: {
        configDir: '/etc/tg/ratelimit',
        mergeDomains: true,
        mode: 'shared',
        store: {
          kind: 'redis',
          address: {
            url: 'rediss://counters.llm.svc:6380',
            caFile: '/etc/tg/tls/counters-ca.pem',
            user: 'counter',
            passwordFile: '/etc/tollgate/counters-password',
          },
          timeoutMs: 30,
        },
        perSecond: {
          kind: 'redis',
          address: {
            url: 'redis://seconds.llm.svc:6379',
            caFile: undefined,
            user: undefined,
            passwordFile: undefined,
          },
          timeoutMs: 80,
        },
        cacheKeyPrefix: 'llm:',
        expirationJitterMaxSeconds: 0,
        localCacheBytes: 65_536,
        nearLimitRatio: 0.5,
        stopWhenOver: true,
        shadowMode: true,
        quotaMode: true,
        responseDynamicMetadata: true,
        responseHeaders: { limit: 'X-Limit', remaining: 'X-Remaining', reset: 'X-Reset' },
      },
      log: { level: 'debug' },
    })
    expect(policy).toEqual({
      generation: expect.stringMatching(/^[0-9a-f]{12}$/) as string,
      issuers: [
        {
          issuer: 'https://idp.example.com/realms/ml',
          audiences: ['llm', 'llm-batch'],
          algorithms: ['ES256', 'RS256'],
          tenant: { kind: 'fixed', tenant: 'acme' },
          groupsClaim: 'realm_access.roles',
          claims: [],
          clockToleranceMs: 5000,
          maxLifetimeMs: 3_600_000,
          jwksCacheMs: 60_000,
          jwksStaleMs: 120_000,
          caFile: '/etc/tg/tls/idp-ca.pem',
          insecureHttp: false,
        },
        {
          issuer: 'http://127.0.0.1:9400',
          audiences: ['llm'],
          algorithms: ['EdDSA'],
          tenant: { kind: 'fixed', tenant: 'development' },
          groupsClaim: undefined,
          claims: [],
          clockToleranceMs: 30_000,
          maxLifetimeMs: 86_400_000,
          jwksCacheMs: 600_000,
          jwksStaleMs: 3_600_000,
          caFile: undefined,
          insecureHttp: true,
        },
      ],
      apiKeys: [
        {
          id: 'nightly',
          sha256: '0f'.repeat(32),
          tenant: 'acme',
          subject: 'batch',
          client: 'cron',
          groups: ['research', '8'],
          expiresAtEpochMs: Date.UTC(2027, 0, 30, 23),
        },
      ],
      models: [
        {
          name: 'meta-llama/Llama-3.3-70B-Instruct',
          aliases: ['llama', 'llama:latest'],
          encoding: 'o200k_base',
          contextTokens: 131_072,
          defaultOutputTokens: 2048,
          uncapped: 'require',
          streamUsage: 'estimate',
          stopsOnDisconnect: true,
          extraFields: ['logit_bias_v2', '*'],
          pool: 'gpu-a',
        },
        {
          name: 'gpt-oss-20b',
          aliases: [],
          encoding: 'cl100k_base',
          contextTokens: 8192,
          defaultOutputTokens: 1024,
          uncapped: 'reserve',
          streamUsage: 'inject',
          stopsOnDisconnect: false,
          extraFields: [],
          pool: 'gpu-b',
        },
      ],
      paths: [
        { path: '/health', method: 'GET', pool: 'gpu-a', public: true },
        { path: '/v1/models', method: 'GET', pool: 'gpu-a', public: false },
      ],
      grants: [
        {
          name: 'researchers',
          tenants: ['acme'],
          groups: ['research', '/platform/ml'],
          clients: ['notebook'],
          anyone: false,
          models: ['meta-llama/*', 'gpt-oss-20b'],
          paths: ['/v1/models'],
          maxOutputTokens: 4096,
          fields: ['image_url'],
          unlimited: false,
        },
        {
          name: 'grants[1]',
          tenants: [],
          groups: [],
          clients: [],
          anyone: true,
          models: ['gpt-*'],
          paths: [],
          maxOutputTokens: undefined,
          fields: [],
          unlimited: true,
        },
      ],
      quotas: [
        {
          name: 'user-minute',
          unit: 'tokens',
          limit: 60_000,
          window: { kind: 'sliding', lengthMs: 90_000 },
          by: ['tenant', 'subject'],
          groups: [],
          models: ['meta-llama/*'],
          shadow: false,
          onStoreFailure: 'local',
        },
        {
          name: 'org-day',
          unit: 'tokens',
          limit: Number.MAX_SAFE_INTEGER,
          window: { kind: 'calendar', period: 'day', timeZone: 'Europe/Berlin' },
          by: ['tenant', 'client'],
          groups: [],
          models: [],
          shadow: false,
          onStoreFailure: 'deny',
          slices: true,
        },
        {
          name: 'month',
          unit: 'requests',
          limit: 1,
          window: { kind: 'calendar', period: 'month', timeZone: 'UTC' },
          by: [],
          groups: [],
          models: [],
          shadow: false,
          onStoreFailure: 'deny',
        },
        {
          name: 'parallel',
          unit: 'in_flight',
          limit: 8,
          window: { kind: 'open' },
          by: ['tenant', 'model'],
          groups: [],
          models: [],
          shadow: false,
          onStoreFailure: 'deny',
        },
        {
          name: 'team-hour',
          unit: 'tokens',
          limit: 900_000,
          window: { kind: 'sliding', lengthMs: 86_400_000 },
          by: ['group'],
          groups: ['research', 'sales'],
          models: [],
          shadow: true,
          onStoreFailure: 'allow',
        },
      ],
      inspection: {
        injection: { action: 'flag', threshold: 0.8, untrustedThreshold: 0.5 },
        controlTokens: { action: 'shadow' },
        secrets: { action: 'off' },
        personalData: { action: 'block', kinds: ['email'] },
        prohibited: [
          {
            name: 'codenames',
            action: 'flag',
            phrases: ['project heron'],
            patterns: ['heron-[0-9]{4}'],
          },
        ],
      },
      maxBodyBytes: 1_048_576,
      leaseMs: 700_000,
      maxStreamMs: 600_000,
      keepCredential: true,
    })
  })

  test('is the same generation wherever it lies, and another after any change', () => {
    const text = fixture('smallest')
    const { generation } = loadConfig('a.yaml', text).policy
    expect(generation).toMatch(/^[0-9a-f]{12}$/)
    expect(loadConfig('/elsewhere/b.yaml', text).policy.generation).toBe(generation)
    expect(loadConfig('a.yaml', `${text}# changed\n`).policy.generation).not.toBe(generation)
  })

  test('crosses a thread boundary', () => {
    const config = loadConfig('policy.yaml', fixture('everything'))
    expect(structuredClone(config)).toEqual(config)
  })
})

describe('reading the file', () => {
  test('takes paths in it from its own directory', () => {
    const directory = resolve(import.meta.dirname, 'fixtures')
    const { settings } = readConfig(join(directory, 'everything.yaml'))
    expect(settings.audit?.file).toBe(join(directory, 'audit.jsonl'))
  })

  test('with the files that it names, as a start does, tells the faults of all by line', () => {
    const path = join(mkdtempSync(join(tmpdir(), 'tollgate-config-')), 'policy.yaml')
    writeFileSync(
      path,
      `${fixture('smallest')}audit: { file: none/audit.jsonl, keyFile: audit.pem }\n`,
    )
    expect(readConfig(path).settings.audit).toBeDefined()
    expect(refusalOf(() => readConfig(path, checkFiles))).toEqual([
      `${path}:12: audit.file is none/audit.jsonl; expected a path in a directory that this user may write`,
      `${path}:12: audit.keyFile is audit.pem; expected a readable file; there is none`,
    ])
  })

  test('refuses what cannot be read, is no UTF-8 or too large, by name', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'tollgate-config-'))
    const missing = join(directory, 'missing.yaml')
    expect(refusalOf(() => readConfig(missing))).toEqual([
      `${missing}: expected a readable file; there is none`,
    ])
    await mkdir(join(directory, 'folder'))
    expect(refusalOf(() => readConfig(join(directory, 'folder')))).toEqual([
      `${join(directory, 'folder')}: expected a readable file; this is a directory`,
    ])
    const latin1 = join(directory, 'latin1.yaml')
    writeFileSync(latin1, Buffer.from([0x23, 0xe9, 0x0a]))
    expect(refusalOf(() => readConfig(latin1))).toEqual([
      `${latin1}:1: syntax is in another encoding; expected UTF-8`,
    ])
    const big = join(directory, 'big.yaml')
    writeFileSync(big, Buffer.alloc(1_048_577, '#'))
    expect(refusalOf(() => readConfig(big))).toEqual([`${big}: expected at most 1048576 bytes`])
  })
})
