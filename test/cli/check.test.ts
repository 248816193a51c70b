import { generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { writeFileSync, mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { createSelfSigned } from '../identity/self-signed.js'
import { play } from './terminal.js'

const fixtures = new URL('../config/fixtures/', import.meta.url)

function policyFile(name: string): string {
  const path = join(mkdtempSync(join(tmpdir(), 'tollgate-check-')), 'policy.yaml')
  writeFileSync(path, readFileSync(new URL(`${name}.yaml`, fixtures)))
  return path
}

test('prints who may call what, and which quotas bind it', async () => {
  const file = policyFile('everything')
  const { exitCode, out, err } = await play(['check', '--policy', file])
  expect(err).toBe('')
  expect(exitCode).toBe(0)
  expect(out.split('\n').slice(2)).toEqual([
    'files not looked at (--files opens them): listen.tls.certFile, listen.tls.keyFile, listen.tls.clientCaFile, ledger.tls.caFile, ledger.passwordFile, audit.file, audit.keyFile, issuers[0].caFile, rateLimitService.redis.tls.caFile, rateLimitService.redis.passwordFile, rateLimitService.configDir',
    '',
    'API keys:',
    '  nightly: tenant acme, subject batch, client cron, groups research and 8, until 2027-01-30T23:00:00.000Z',
    'Models:',
    '  meta-llama/Llama-3.3-70B-Instruct in pool gpu-a',
    '  gpt-oss-20b in pool gpu-b',
    'Grants:',
    '  researchers: tenant acme and group research or /platform/ml and client notebook',
    '    paths /v1/models',
    '    model meta-llama/Llama-3.3-70B-Instruct, at most 4096 output tokens a request',
    '      user-minute: 60000 tokens in any 90s for each tenant, subject; its share while its store is away',
    '      org-day: 9007199254740991 tokens per calendar day (Europe/Berlin) for each tenant, client; from slices',
    '      month: 1 requests per calendar month (UTC) for all callers together',
    '      parallel: 8 in_flight at once for each tenant, model',
    '      team-hour: 900000 tokens in any 1d for each group; uncounted while its store is away (shadow: never refuses)',
    '    model gpt-oss-20b, at most 4096 output tokens a request',
    '      org-day: 9007199254740991 tokens per calendar day (Europe/Berlin) for each tenant, client; from slices',
    '      month: 1 requests per calendar month (UTC) for all callers together',
    '      parallel: 8 in_flight at once for each tenant, model',
    '      team-hour: 900000 tokens in any 1d for each group; uncounted while its store is away (shadow: never refuses)',
    '  grants[1]: every verified caller',
    '    model gpt-oss-20b, at most 1024 output tokens a request',
    '      org-day: 9007199254740991 tokens per calendar day (Europe/Berlin) for each tenant, client; from slices',
    '      month: 1 requests per calendar month (UTC) for all callers together',
    '      parallel: 8 in_flight at once for each tenant, model',
    '      team-hour: 900000 tokens in any 1d for each group; uncounted while its store is away (shadow: never refuses)',
  ])
})

test('prints money in its currency, every kind of window, and by what a limit may be another', async () => {
  const file = policyFile('smallest')
  const quotas = [
    '  - { name: budget, unit: cost, limit: 25.5, window: month, by: [tenant, "claim:centre"],',
    '      overrides: [{ tenants: [acme], limit: 100 }], limitClaim: { claim: budget, atMost: 999.99 } }',
    '  - { name: week, unit: output_tokens, limit: 9, window: fixed week, by: [subject, spiffe], onStoreFailure: local,',
    '      overrides: [{ groups: [a], limit: 1 }, { groups: [b], limit: 2 }] }',
    '  - { name: all, unit: requests, limit: 7, window: 1m, by: [], slices: true, onStoreFailure: allow }',
  ]
  const smallest = readFileSync(file, 'utf8')
  const priced = smallest.replace('pool: ', 'prices: { input: 0.5, output: 1.5 }, pool: ')
  const ledger = "ledger: { kind: redis, url: 'redis://127.0.0.1:6379' }"
  writeFileSync(file, [ledger, priced.trimEnd(), ...quotas, ''].join('\n'))
  const { out, err } = await play(['check', '--policy', file])
  expect(err).toBe('')
  expect(out.split('\n').slice(-3)).toEqual([
    '      budget: 25.50 cost per calendar month (UTC) for each tenant, claim:centre; other limits by 1 override and by claim budget, at most 999.99',
    '      week: 9 output_tokens per fixed 7d for each subject, spiffe; other limits by 2 overrides; its share while its store is away',
    '      all: 7 requests in any 1m for all callers together; from slices; uncounted while its store is away',
  ])
})

test('prints every fault at once, on standard error, and fails', async () => {
  const file = policyFile('several-faults')
  const { exitCode, out, err } = await play(['check', '--policy', file])
  expect(exitCode).toBe(1)
  expect(out).toBe('')
  expect(err.split('\n').map((line) => line.slice(0, line.indexOf(' is ')))).toEqual([
    `${file}:1: drain.delayMs`,
    `${file}:5: issuers[0].algorithms[0]`,
    `${file}:8: models[0].tokenizer`,
    `${file}:12: quotas[0].limit`,
  ])
})

test("compares Envoy's file, and says that it agrees", async () => {
  const { exitCode, out } = await play([
    'check',
    '--policy',
    'deploy/demo/policy.yaml',
    '--envoy',
    'envoy.yaml',
  ])
  expect(out.split('\n').at(-1)).toBe('envoy.yaml: agrees with the policy')
  expect(exitCode).toBe(0)
})

test("prints the faults of Envoy's file", async () => {
  const { exitCode, err } = await play([
    'check',
    '--policy',
    policyFile('everything'),
    '--envoy',
    'envoy.yaml',
  ])
  expect(exitCode).toBe(1)
  // Another body cap in two places, two pools with shorter streams, other origins.
  expect(err.split('\n')).toHaveLength(5)
  for (const line of err.split('\n')) expect(line).toMatch(/^envoy\.yaml:[1-9][0-9]*: /)
})

test("names a header of Tollgate's own and one that steers an engine, if Envoy's file lets a client send them", async () => {
  const stripped = ['x-tollgate-cap', 'x-prefiller-host-port']
  const text = stripped.reduce(
    (left, name) => left.replace(`- { remove: ${name} }`, ''),
    readFileSync('envoy.yaml', 'utf8'),
  )
  const file = join(mkdtempSync(join(tmpdir(), 'tollgate-check-')), 'envoy.yaml')
  writeFileSync(file, text)
  const policy = 'deploy/demo/policy.yaml'
  const { exitCode, err } = await play(['check', '--policy', policy, '--envoy', file])
  expect(exitCode).toBe(1)
  expect(err).toMatch(/a header mutation that removes x-tollgate-cap, x-prefiller-host-port$/)
})

test("prints the faults of Envoy's file beside those of the policy", async () => {
  const file = policyFile('several-faults')
  const { exitCode, err } = await play(['check', '--policy', file, '--envoy', 'envoy.yaml'])
  expect(exitCode).toBe(1)
  const places = err.split('\n').map((line) => line.slice(0, line.indexOf(':')))
  expect(places.slice(0, 4)).toEqual([file, file, file, file])
  // The policy has no origins.
  expect(places.slice(4)).toEqual(['envoy.yaml'])
})

test('compares no part of the policy that is wrong, and hides no fault behind a file that is none', async () => {
  const file = policyFile('smallest')
  writeFileSync(file, 'limits: { maxBodyBytes: 8 }\ncors: { origins: [x] }\nmaxStreamMs: soon\n')
  const lines = (await play(['check', '--policy', file, '--envoy', 'envoy.yaml'])).err.split('\n')
  expect(lines.filter((line) => line.startsWith('envoy.yaml'))).toEqual([])
  const missing = join(dirname(file), 'none.yaml')
  const both = await play(['check', '--policy', missing, '--envoy', `${missing}.too`])
  expect(both.err.split('\n')).toEqual([
    `${missing}: expected a readable file; there is none`,
    `${missing}.too: expected a readable file; there is none`,
  ])
})

describe('with --files', () => {
  function write(file: string, name: string, content: string): void {
    writeFileSync(join(dirname(file), name), content)
  }

  function pemOf({ privateKey }: { readonly privateKey: KeyObject }): string {
    return privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
  }

  function auditing(): string {
    const file = policyFile('smallest')
    const text = `${readFileSync(file, 'utf8')}audit: { file: audit.jsonl, keyFile: audit.pem }\n`
    writeFileSync(file, text)
    return file
  }

  test('says that a file which the policy names is not there, at the line that names it', async () => {
    const file = auditing()
    const { exitCode, err } = await play(['check', '--policy', file, '--files'])
    expect(exitCode).toBe(1)
    expect(err).toBe(
      `${file}:12: audit.keyFile is audit.pem; expected a readable file; there is none`,
    )
  })

  test('opens them as the server will', async () => {
    const file = auditing()
    write(file, 'audit.pem', pemOf(generateKeyPairSync('ed25519')))
    const { exitCode, out } = await play(['check', '--policy', file, '--files'])
    expect(exitCode).toBe(0)
    expect(out.split('\n')[2]).toBe('files opened: audit.file, audit.keyFile')
  })

  test('says what each is not, and nothing of what is in it', async () => {
    const file = policyFile('everything')
    const text = readFileSync(file, 'utf8')
      .replaceAll('/etc/tollgate/ca.pem', 'absent/ca.pem')
      .replaceAll('tls/', '')
      .replace('keys/', '')
      .replace('file: audit', 'file: absent/audit')
    writeFileSync(file, text)
    const secret = pemOf(generateKeyPairSync('x25519'))
    for (const name of ['tollgate.pem', 'tollgate-key.pem', 'idp-ca.pem', 'audit.pem']) {
      write(file, name, name === 'audit.pem' ? secret : 'hunter2')
    }
    const { err } = await play(['check', '--policy', file, '--files'])
    expect(err.replaceAll(`${file}:`, '').split('\n')).toEqual([
      '5: listen.tls.certFile is tollgate.pem; expected a file of certificates in PEM (no certificate in PEM)',
      '6: listen.tls.keyFile is tollgate-key.pem; expected a file with a private key in PEM',
      '7: listen.tls.clientCaFile is absent/ca.pem; expected a readable file; there is none',
      '14: ledger.tls.caFile is redis-ca.pem; expected a readable file; there is none',
      '16: ledger.passwordFile is /etc/tollgate/redis-password; expected a readable file; there is none',
      '30: issuers[0].caFile is idp-ca.pem; expected a file of certificates in PEM (no certificate in PEM)',
      '84: audit.file is absent/audit.jsonl; expected a path in a directory that this user may write',
      '84: audit.keyFile is audit.pem; expected a file with an Ed25519 private key in PEM (PKCS #8)',
      '101: rateLimitService.redis.tls.caFile is counters-ca.pem; expected a readable file; there is none',
      '103: rateLimitService.redis.passwordFile is /etc/tollgate/counters-password; expected a readable file; there is none',
      `${dirname(file)}/ratelimit: expected a readable directory; there is none`,
    ])
    expect(err).not.toContain('hunter2')
  })

  test('opens those of every Redis, however it is found', async () => {
    const file = policyFile('smallest')
    const redis = (name: string): string =>
      `{ sentinel: { master: m, nodes: ['rediss://s:1'], user: u, passwordFile: ${name}-1 }, tls: { caFile: ${name}-2 }, passwordFile: ${name}-3 }`
    const lines = [
      `ledger: ${redis('a').replace('{', '{ kind: redis,')}`,
      'rateLimitService:',
      '  configDir: limits',
      `  redis: ${redis('b')}`,
      `  perSecond: ${redis('c')}`,
    ]
    writeFileSync(file, `${readFileSync(file, 'utf8')}${lines.join('\n')}\n`)
    const { out } = await play(['check', '--policy', file])
    expect(out).toContain(
      'ledger.tls.caFile, ledger.passwordFile, ledger.sentinel.passwordFile, rateLimitService.redis.tls.caFile, rateLimitService.redis.passwordFile, rateLimitService.redis.sentinel.passwordFile, rateLimitService.perSecond.tls.caFile, rateLimitService.perSecond.passwordFile, rateLimitService.perSecond.sentinel.passwordFile',
    )
    const { err } = await play(['check', '--policy', file, '--files'])
    const missing = err.match(/(?<= is )[abc]-\d(?=; expected a readable file; there is none)/g)
    expect(missing?.sort()).toEqual(
      ['a', 'b', 'c'].flatMap((name) => [1, 2, 3].map((which) => `${name}-${String(which)}`)),
    )
  })

  test('tells faults of files among those of the policy, by line', async () => {
    const file = auditing()
    writeFileSync(file, `${readFileSync(file, 'utf8')}log: { level: loud }\n`)
    const { err } = await play(['check', '--policy', file, '--files'])
    expect(err.replaceAll(`${file}:`, '').split('\n')).toEqual([
      '12: audit.keyFile is audit.pem; expected a readable file; there is none',
      '13: log.level is loud; expected one of trace, debug, info, warn, error, fatal',
    ])
  })

  test('counts them among those that are too many to list', async () => {
    const file = auditing()
    const unknown = Array.from({ length: 300 }, (_, index) => `key${String(index)}: 1\n`).join('')
    writeFileSync(file, `${readFileSync(file, 'utf8')}${unknown}`)
    const lines = (await play(['check', '--policy', file, '--files'])).err.split('\n')
    expect(lines).toHaveLength(201)
    expect(lines[0]).toContain('audit.keyFile is audit.pem')
    expect(lines.at(-1)).toBe(`${file}: expected fewer faults: 101 more are not listed`)
  })

  test('finds a private key that is not that of the certificate', async () => {
    const file = policyFile('smallest')
    const tls =
      'tls: { certFile: c.pem, keyFile: k.pem, clientCaFile: c.pem, allowedSans: [envoy] }'
    const text = `${readFileSync(file, 'utf8')}listen: { grpc: 0.0.0.0:9191, ${tls} }\n`
    writeFileSync(file, text)
    const own = createSelfSigned()
    write(file, 'c.pem', own.cert)
    write(file, 'k.pem', own.key)
    expect((await play(['check', '--policy', file, '--files'])).err).toBe('')
    write(file, 'k.pem', createSelfSigned().key)
    expect((await play(['check', '--policy', file, '--files'])).err).toBe(
      `${file}:12: listen.tls.keyFile is k.pem; expected the private key of the first certificate in listen.tls.certFile`,
    )
  })
})
