import { execFile, execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, expect, test } from 'vitest'
import { parse } from 'yaml'
import { createCertificates } from '../../deploy/demo/certificates.js'
import { renderEnvoy } from '../../deploy/demo/envoy.js'
import { findEnvoy } from '../../deploy/demo/find-envoy.js'
import { reportFormats } from '../../src/config/envoy-report.js'
import { reservedHeaders } from '../../src/envoy/internal-headers.js'

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

test('Envoy takes the variant with TLS as the comment writes it', async () => {
  await createCertificates(directory, [])
  const secrets = join(directory, 'sds')
  await mkdir(secrets)
  for (const name of ['client-certificate', 'authority', 'server-certificate']) {
    const secret = await readFile(join('deploy', 'envoy', `${name}.yaml`), 'utf8')
    const here = secret.replaceAll(/\/etc\/envoy\/(server-)?certs/g, directory)
    await writeFile(join(secrets, `${name}.yaml`), here)
  }
  const shipped = await readFile('envoy.yaml', 'utf8')
  const commented = /^ {8}# - transport_socket:\n(?: {8}# .*\n)+?(?= {8}# {3}filters:)/m.exec(
    shipped,
  )?.[0]
  if (commented === undefined) throw new Error('envoy.yaml no longer has the block')
  const uncommented = shipped
    .replace(commented, commented.replaceAll(/^ {8}# /gm, ' '.repeat(8)))
    .replace(' '.repeat(8) + '- filters:', ' '.repeat(8) + '  filters:')
    .replaceAll('/etc/envoy/sds', secrets)
  expect(uncommented).not.toBe(shipped)
  const file = join(directory, 'with-tls.yaml')
  await writeFile(file, uncommented)
  const { stdout } = await run(findEnvoy(), ['--mode', 'validate', '-c', file, '-l', 'error'])
  expect(stdout).toContain(`configuration '${file}' OK`)
})

test('Tollgate finds nothing in which envoy.yaml and the demo policy disagree', () => {
  const args = ['check', '--policy', 'deploy/demo/policy.yaml', '--envoy', 'envoy.yaml']
  // Throws with the faults when the exit code is not 0.
  execFileSync(process.execPath, ['dist/cli.js', ...args], { encoding: 'utf8' })
})

test('envoy.yaml removes exactly the headers that only Tollgate may say, before the first route match', async () => {
  const text = await readFile('envoy.yaml', 'utf8')
  const removed = [...text.matchAll(/- \{ remove: ([a-z0-9-]+) \}/g)].map(([, name]) => name)
  expect(removed.sort()).toEqual([...reservedHeaders].sort())
})

test('envoy.yaml reports every figure that the meter reads, each with the reservation and from its own place', async () => {
  const text = await readFile('envoy.yaml', 'utf8')
  const found: unknown[] = []
  const visit = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return
    if ('rate_limits' in node && Array.isArray(node.rate_limits))
      found.push(...(node.rate_limits as unknown[]))
    for (const child of Object.values(node)) visit(child)
  }
  visit(parse(text))
  const figures = found.map((limit) => {
    const text = JSON.stringify(limit)
    expect(text).toContain('"descriptor_key":"reservation"')
    expect(text).toContain('"apply_on_stream_done":true')
    const name = /"descriptor_value":"([a-z_]+)"/.exec(text)?.[1]
    return [name, /"hits_addend":\{"format":"([^"]+)"\}/.exec(text)?.[1]]
  })
  expect(figures.sort()).toEqual([...reportFormats].sort())
})
