import { once } from 'node:events'
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, credentials, status } from '@grpc/grpc-js'
import { service as healthService } from 'grpc-health-check'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { createCertificates, envoyIdentity } from '../deploy/demo/certificates.js'
import type { KeyPairFiles } from '../deploy/demo/certificates.js'
import { startChild } from '../deploy/demo/child.js'
import type { Child } from '../deploy/demo/child.js'
import { chatOf, check, report, reservationOf } from './as-envoy.js'
import { freePort } from './free-port.js'
import { startSmallProvider } from './small-provider.js'
import type { SmallProvider } from './small-provider.js'

// The program as it is started in a pod, without Envoy: what it does at start, at a reload and at its end.

const program = join(import.meta.dirname, '..', 'dist', 'cli.js')

const open: { child: Child; directory: string }[] = []
afterEach(async () => {
  for (const { child, directory } of open.splice(0)) {
    await child.stop()
    rmSync(directory, { recursive: true, force: true })
  }
})

let provider: SmallProvider
let issuer: string
beforeAll(async () => {
  provider = await startSmallProvider()
  issuer = provider.issuer
})
afterAll(() => {
  provider.close()
})

function policy(pool = 'gpu-a', drain = 'delayMs: 0, deadlineMs: 0'): string {
  return [
    'issuers:',
    `  - { issuer: '${issuer}', insecureHttp: true, audiences: [llm], algorithms: [ES256], tenant: { fixed: acme } }`,
    'listen:',
    '  grpc: unix://SOCKET',
    '  metrics: 127.0.0.1:METRICS',
    '  admin: 127.0.0.1:0',
    `paths: [{ path: /health, method: GET, pool: ${pool}, public: true }]`,
    `drain: { ${drain} }`,
    '',
  ].join('\n')
}

async function start(text: string, place = (directory: string) => join(directory, 'policy.yaml')) {
  const directory = mkdtempSync(join(tmpdir(), 'tollgate-serve-'))
  const port = await freePort()
  const socket = join(directory, 'grpc.sock')
  const fill = (written: string): string =>
    written.replace('SOCKET', socket).replace('METRICS', String(port))
  const file = place(directory)
  writeFileSync(file, fill(text))
  const child = await startChild({
    command: process.execPath,
    args: [program, 'serve', '--policy', join(directory, 'policy.yaml')],
    logFile: join(directory, 'log'),
  })
  open.push({ child, directory })
  const log = (): string => readFileSync(join(directory, 'log'), 'utf8')
  const metric = async (name: string): Promise<string> => {
    const body = await (await fetch(`http://127.0.0.1:${String(port)}/metrics`)).text()
    return body.split('\n').find((line) => line.startsWith(name)) ?? ''
  }
  const status = async (path: string): Promise<number> =>
    (await fetch(`http://127.0.0.1:${String(port)}${path}`)).status
  return { child, directory, file, socket, port, fill, log, metric, status }
}

const patience = { timeout: 20_000, interval: 50 }

async function started(it: Awaited<ReturnType<typeof start>>): Promise<void> {
  const ready = vi.waitFor(async () => {
    expect(await it.status('/readyz')).toBe(200)
  }, patience)
  const ended = it.child.exited.then((code) => {
    throw new Error(`ended with ${String(code)}: ${it.log()}`)
  })
  await Promise.race([ready, ended])
}

/** Ready is said by another socket than the log: its last line at start may come after. */
async function startSaid(it: Awaited<ReturnType<typeof start>>): Promise<void> {
  await started(it)
  await vi.waitFor(() => {
    expect(it.log()).toContain('limits hold per process')
  }, patience)
}

function health(socket: string): Promise<string> {
  // proto-loader knows no message types.
  const { path, requestSerialize, responseDeserialize } = healthService['Check'] as unknown as {
    path: string
    requestSerialize: (value: object) => Buffer
    responseDeserialize: (bytes: Buffer) => { status: string }
  }
  const client = new Client(`unix:${socket}`, credentials.createInsecure())
  return new Promise((resolve) => {
    client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      { service: '' },
      (error, response) => {
        client.close()
        resolve(error?.message ?? response?.status ?? '')
      },
    )
  })
}

/** The reservation of a chat of alice, which is allowed; it stays open until somebody reports. */
async function reserved(client: Client): Promise<string> {
  const response = await check(client, chatOf(await provider.credentialOf('alice'), '17'))
  const reservation = typeof response === 'number' ? undefined : reservationOf(response)
  if (reservation === undefined) throw new Error('not reserved')
  return reservation
}

describe('a TCP address', () => {
  test('takes the callers of its list alone', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tollgate-serve-tls-'))
    const certificates = await createCertificates(directory, ['server'])
    const server = certificates.nodes.get('server')
    if (server === undefined) throw new Error('no certificate')
    const port = await freePort()
    const tls = `tls: { certFile: '${server.certificateFile}', keyFile: '${server.keyFile}', clientCaFile: '${certificates.authorityFile}', allowedSans: ['${envoyIdentity}'] }`
    const it = await start(
      policy().replace('grpc: unix://SOCKET', `grpc: 127.0.0.1:${String(port)}\n  ${tls}`),
    )
    await started(it)
    const asking = async (pair: KeyPairFiles, authorityFile = certificates.authorityFile) => {
      const client = new Client(
        `127.0.0.1:${String(port)}`,
        credentials.createSsl(
          readFileSync(authorityFile),
          readFileSync(pair.keyFile),
          readFileSync(pair.certificateFile),
          { checkServerIdentity: () => undefined },
        ),
      )
      const http = { id: '1', method: 'GET', path: '/health' }
      const answer = await check(client, { attributes: { request: { http } } })
      client.close()
      return answer
    }
    expect(await asking(certificates.envoy)).toMatchObject({ okResponse: {} })
    expect(await asking(certificates.stranger)).toBe(status.PERMISSION_DENIED)

    // Renewed by another authority, in the same files.
    writeFileSync(server.keyFile, 'half')
    await vi.waitFor(() => {
      expect(it.log()).toContain('the files of listen.tls cannot be used')
    }, patience)
    const { authorityFile, envoy } = await createCertificates(directory, ['server'])
    await vi.waitFor(() => {
      expect(it.log()).toContain('the certificates of listen.tls are renewed')
    }, patience)
    expect(await asking(envoy, authorityFile)).toMatchObject({ okResponse: {} })
    rmSync(directory, { recursive: true })
  })
})

describe('a start', () => {
  test('with a bad policy names every fault, and exits with 1', async () => {
    const it = await start('listen: { grpc: nowhere }\nquotas: [{ name: q }]\nfoo: 1\n')
    expect(await it.child.exited).toBe(1)
    for (const part of [
      'policy.yaml:1: listen.grpc',
      'policy.yaml:2: quotas[0]',
      'policy.yaml:3: foo',
    ]) {
      expect(it.log()).toContain(part)
    }
  })

  test('with files that are not there names each, with its line in the policy', async () => {
    const audit = 'audit: { file: none/audit.jsonl, keyFile: none/audit.pem }\n'
    const it = await start(policy() + audit)
    expect(await it.child.exited).toBe(1)
    const line = policy().split('\n').length
    for (const key of ['audit.file', 'audit.keyFile']) {
      expect(it.log()).toContain(`policy.yaml:${String(line)}: ${key} is none/audit.`)
    }
  })

  test('on a port that is taken says so, and exits with 1', async () => {
    const taken = createServer().listen(0, '127.0.0.1')
    await once(taken, 'listening')
    const { port } = taken.address() as AddressInfo
    const it = await start(policy().replace('METRICS', String(port)))
    expect(await it.child.exited).toBe(1)
    expect(it.log()).toMatch(new RegExp(`listen\\.metrics: .*:${String(port)}\\b`))
    expect(it.log()).not.toContain('    at ')
    taken.close()
  })

  test('without a provider is alive and not ready, and says why', async () => {
    const nobody = `http://127.0.0.1:${String(await freePort())}`
    const it = await start(policy().replace(issuer, nobody))
    await vi.waitFor(async () => {
      expect(await it.metric('tollgate_jwks_events_total{event="failed"}')).toMatch(/ [1-9]/)
    }, patience)
    expect(await it.status('/healthz')).toBe(200)
    expect(await it.status('/readyz')).toBe(503)
    expect(await health(it.socket)).toBe('NOT_SERVING')
    await vi.waitFor(() => {
      expect(it.log()).toContain('ECONNREFUSED')
    }, patience)
  })
})

describe('one process, from start to end', () => {
  const slow = 'delayMs: 2000, deadlineMs: 2000'
  const good = () => policy('gpu-a', slow)
  const next = () => policy('gpu-b', slow)
  const bad = () => good().replace('drain:', 'drian:').replace('public: true', 'public: maybe')
  const generationOf = (it: Awaited<ReturnType<typeof start>>) => it.metric('tollgate_policy_info')
  const becomes = async (
    it: Awaited<ReturnType<typeof start>>,
    expected: (now: string) => boolean,
  ) =>
    vi.waitFor(async () => {
      expect(await generationOf(it)).toSatisfy(expected)
    }, patience)

  test('follows its policy, keeps the last good one, and ends in order', async () => {
    const it = await start(good())
    await startSaid(it)
    expect(it.log()).toContain('no audit file')
    expect(await it.metric('tollgate_ledger_info')).toBe('tollgate_ledger_info{kind="memory"} 1')
    expect(await it.metric('tollgate_jwks_events_total{event="fetched"}')).toMatch(/ 1$/)

    // A good file, by itself and at SIGHUP.
    const first = await generationOf(it)
    writeFileSync(it.file, it.fill(next()))
    await becomes(it, (now) => now !== first)
    writeFileSync(it.file, it.fill(good()))
    await becomes(it, (now) => now === first)
    it.child.signal('SIGHUP')
    await vi.waitFor(() => {
      expect(it.log()).toContain('policy unchanged')
    }, patience)

    // A bad one: every fault is said, the last good one stays, and the next good one is taken.
    writeFileSync(it.file, it.fill(bad()))
    it.child.signal('SIGHUP')
    await vi.waitFor(async () => {
      expect(await it.metric('tollgate_policy_loads_total{result="refused"}')).toMatch(/ 1$/)
    }, patience)
    expect(await generationOf(it)).toBe(first)
    expect(await it.status('/readyz')).toBe(200)
    // Its lines are written beside what it does.
    await vi.waitFor(() => {
      for (const key of ['drian', 'paths[0].public']) expect(it.log()).toContain(key)
    }, patience)
    writeFileSync(it.file, it.fill(next()))
    await becomes(it, (now) => now !== first)

    // The end: health says so at once, the process is still there so that Envoy can learn of it, and a second
    // signal changes nothing.
    await vi.waitFor(async () => {
      expect(await health(it.socket)).toBe('SERVING')
    }, patience)
    it.child.signal('SIGTERM')
    await vi.waitFor(() => {
      expect(it.log()).toContain('draining')
    }, patience)
    expect(await health(it.socket)).toBe('NOT_SERVING')
    expect(it.child.running()).toBe(true)
    expect(await it.status('/readyz')).toBe(503)
    expect(await it.status('/healthz')).toBe(200)
    it.child.signal('SIGTERM')
    expect(await it.child.exited).toBe(0)
    expect(it.log()).toContain('stopped')
  }, 60_000)

  const withModel = (drain: string): string =>
    [
      policy('gpu-a', drain),
      'limits: { examinationWorkers: 1 }',
      'models: [{ name: llama, tokenizer: cl100k_base, contextTokens: 8192, pool: gpu-a }]',
      'grants: [{ tenants: [acme], models: [llama] }]',
      'quotas: [{ name: day, unit: tokens, limit: 100000, window: day, by: [tenant] }]',
      '',
    ].join('\n')
  const drains = (it: Awaited<ReturnType<typeof start>>) =>
    vi.waitFor(() => {
      expect(it.log()).toContain(
        '"callsUnderWay":0,"openReservations":1,"lateReports":0,"toGiveBack":0,"msg":"draining"',
      )
    }, patience)

  test('takes at its end the reports that still come, and ends when the last has come', async () => {
    const it = await start(withModel('delayMs: 0, deadlineMs: 600000'))
    await started(it)
    const client = new Client(`unix:${it.socket}`, credentials.createInsecure())
    const reservation = await reserved(client)
    it.child.signal('SIGTERM')
    await drains(it)
    const usage = { input: 12, output: 5, end: 200 }
    expect(await report(client, reservation, usage)).toBe(status.OK)
    client.close()
    expect(await it.child.exited).toBe(0)
    expect(it.log()).toContain('"outcome":"settled"')
    expect(it.log()).not.toContain('the drain deadline is over')
  }, 60_000)

  test('waits at its end for no report longer than told, and says how many are left', async () => {
    const it = await start(withModel('delayMs: 0, deadlineMs: 500'))
    await started(it)
    const client = new Client(`unix:${it.socket}`, credentials.createInsecure())
    await reserved(client)
    client.close()
    it.child.signal('SIGINT')
    await drains(it)
    expect(await it.child.exited).toBe(0)
    expect(it.log()).toMatch(
      /"level":"warn".*"callsUnderWay":0,"openReservations":1,"lateReports":0,"toGiveBack":0,"msg":"the drain deadline is over/,
    )
    expect(it.log()).toContain('"signal":"SIGINT"')
    expect(it.log()).toContain('"msg":"stopped"')
  }, 60_000)

  test('fetches the keys of an issuer that a reload brings', async () => {
    const it = await start(policy())
    await started(it)
    const fetched = 'tollgate_jwks_events_total{event="fetched"}'
    const loaded = 'tollgate_policy_loads_total{result="loaded"}'
    expect(await it.metric(fetched)).toMatch(/ 1$/)
    expect(await it.metric(loaded)).toMatch(/ 0$/)
    // The same provider, by its other name.
    const other = issuer.replace('127.0.0.1', 'localhost')
    writeFileSync(it.file, it.fill(policy().replace(issuer, other)))
    await vi.waitFor(async () => {
      expect(await it.metric(fetched)).toMatch(/ 2$/)
    }, patience)
    expect(await it.metric(loaded)).toMatch(/ 1$/)
  })

  test('says as much as log.level lets it', async () => {
    const it = await start(`${policy()}log: { level: warn }\n`)
    await startSaid(it)
    expect(it.log()).not.toContain('"level":"info"')
  })

  test('warns of a change that waits for a restart', async () => {
    const it = await start(`${policy()}log: { level: warn }\n`)
    await started(it)
    writeFileSync(it.file, it.fill(`${policy()}log: { level: error }\n`))
    await vi.waitFor(() => {
      expect(it.log()).toContain('"needRestart":["log.level"]')
    }, patience)
  })

  test('follows the link that Kubernetes turns', async () => {
    const it = await start(policy(), (directory) => {
      // As a ConfigMap is mounted: policy.yaml -> ..data/policy.yaml, ..data -> a directory of this version.
      symlinkSync('..data/policy.yaml', join(directory, 'policy.yaml'))
      symlinkSync('..v1', join(directory, '..data'))
      mkdirSync(join(directory, '..v1'))
      return join(directory, '..v1', 'policy.yaml')
    })
    await started(it)
    const first = await generationOf(it)
    mkdirSync(join(it.directory, '..v2'))
    writeFileSync(join(it.directory, '..v2', 'policy.yaml'), it.fill(next()))
    symlinkSync('..v2', join(it.directory, '..data_new'))
    renameSync(join(it.directory, '..data_new'), join(it.directory, '..data'))
    await becomes(it, (now) => now !== first)
  })
})
