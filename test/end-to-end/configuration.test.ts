import { execFile, execFileSync } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, expect, test } from 'vitest'
import { parse } from 'yaml'
import { createCertificates } from '../../deploy/demo/certificates.js'
import { renderEnvoy } from '../../deploy/demo/envoy.js'
import { findEnvoy } from '../../deploy/demo/find-envoy.js'
import { internalHeaders } from '../../src/envoy/internal-headers.js'
import { reportNames } from '../../src/envoy/report.js'

const run = promisify(execFile)
const directory = await mkdtemp(join(tmpdir(), 'tollgate-envoy-'))
afterAll(async () => rm(directory, { recursive: true, force: true }))

test('Envoy itself finds nothing wrong with envoy.yaml', async () => {
  await createCertificates(directory, [])
  const file = await renderEnvoy(directory, {
    listenerPort: 1,
    adminPort: 2,
    tollgateSocket: join(directory, 'tollgate.sock'),
    nodePorts: { 'gpu-a': 3, 'gpu-b': 4 },
    certificateDirectory: directory,
  })
  const { stdout } = await run(findEnvoy(), ['--mode', 'validate', '-c', file, '-l', 'error'])
  expect(stdout).toContain(`configuration '${file}' OK`)
})

test('Tollgate finds nothing in which envoy.yaml and the demo policy disagree', () => {
  const args = ['check', '--policy', 'deploy/demo/policy.yaml', '--envoy', 'envoy.yaml']
  // Throws with the faults when the exit code is not 0.
  execFileSync(process.execPath, ['dist/cli.js', ...args], { encoding: 'utf8' })
})

test('envoy.yaml removes every internal header before the first route match', async () => {
  const text = await readFile('envoy.yaml', 'utf8')
  const removed = [...text.matchAll(/- \{ remove: ([a-z0-9-]+) \}/g)].map(([, name]) => name)
  expect(new Set(removed)).toEqual(new Set([...removed, ...Object.values(internalHeaders)]))
})

test('envoy.yaml reports every figure that the meter reads, each with the reservation', async () => {
  const text = await readFile('envoy.yaml', 'utf8')
  const found: unknown[] = []
  const visit = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return
    if ('rate_limits' in node && Array.isArray(node.rate_limits))
      found.push(...(node.rate_limits as unknown[]))
    for (const child of Object.values(node)) visit(child)
  }
  visit(parse(text))
  const names = found.map((limit) => {
    const text = JSON.stringify(limit)
    expect(text).toContain('"descriptor_key":"reservation"')
    expect(text).toContain('"apply_on_stream_done":true')
    return /"descriptor_value":"([a-z_]+)"/.exec(text)?.[1]
  })
  expect(names.sort()).toEqual([...reportNames].sort())
})
