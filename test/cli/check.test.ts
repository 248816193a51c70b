import { writeFileSync, mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
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
    '',
    'Models:',
    '  meta-llama/Llama-3.3-70B-Instruct in pool gpu-a',
    '  gpt-oss-20b in pool gpu-b',
    'Grants:',
    '  researchers: tenant acme and group research or /platform/ml and client notebook',
    '    paths /v1/models',
    '    model meta-llama/Llama-3.3-70B-Instruct, at most 4096 output tokens a request',
    '      user-minute: 60000 tokens in any 90s for each tenant, subject',
    '      org-day: 9007199254740991 tokens per calendar day (Europe/Berlin) for each tenant, client',
    '      month: 1 requests per calendar month (UTC) for all callers together',
    '      parallel: 8 in_flight at once for each tenant, model',
    '      team-hour: 900000 tokens in any 1d for each group (shadow: never refuses)',
    '    model gpt-oss-20b, at most 4096 output tokens a request',
    '      org-day: 9007199254740991 tokens per calendar day (Europe/Berlin) for each tenant, client',
    '      month: 1 requests per calendar month (UTC) for all callers together',
    '      parallel: 8 in_flight at once for each tenant, model',
    '      team-hour: 900000 tokens in any 1d for each group (shadow: never refuses)',
    '  grants[1]: every verified caller',
    '    model gpt-oss-20b, at most 1024 output tokens a request',
    '      org-day: 9007199254740991 tokens per calendar day (Europe/Berlin) for each tenant, client',
    '      month: 1 requests per calendar month (UTC) for all callers together',
    '      parallel: 8 in_flight at once for each tenant, model',
    '      team-hour: 900000 tokens in any 1d for each group (shadow: never refuses)',
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
