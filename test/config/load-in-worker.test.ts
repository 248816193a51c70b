import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { loadConfigInWorker } from '../../src/config/load-in-worker.js'
import { loadConfig } from '../../src/config/load.js'
import { ConfigError } from '../../src/errors.js'

// A thread runs the built program.
const workerFile = new URL('../../dist/config/load-worker.js', import.meta.url)
const smallest = readFileSync(new URL('fixtures/smallest.yaml', import.meta.url), 'utf8')

test('a thread reads the same policy', async () => {
  expect(await loadConfigInWorker('/etc/policy.yaml', smallest, { workerFile })).toEqual(
    loadConfig('/etc/policy.yaml', smallest),
  )
})

test('a thread finds the same faults, as the same kind of error', async () => {
  const text = `${smallest}unknown: 1\n`
  const refusal = loadConfigInWorker('policy.yaml', text, { workerFile })
  await expect(refusal).rejects.toBeInstanceOf(ConfigError)
  await expect(refusal).rejects.toThrow(
    /^policy\.yaml:12: unknown is unknown; expected one of .*, quotas$/,
  )
})

test('a thread that takes too long is ended', async () => {
  const refusal = loadConfigInWorker('policy.yaml', smallest, { workerFile, timeoutMs: 0 })
  await expect(refusal).rejects.toThrow(
    'policy.yaml: expected a policy that can be read in reasonable time',
  )
})

test('a thread that cannot start is a refusal, not a crash', async () => {
  const missing = new URL('no-such-worker.js', workerFile)
  const refusal = loadConfigInWorker('policy.yaml', smallest, { workerFile: missing })
  await expect(refusal).rejects.toBeInstanceOf(ConfigError)
})
