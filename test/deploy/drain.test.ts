import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { ServerResponse } from 'node:http'
import { createServer as createTcpServer } from 'node:net'
import type { AddressInfo, Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startEnvoyProcess } from './envoy-process.js'
import type { EnvoyProcess } from './envoy-process.js'
import { renderKustomization, repository } from './kustomization.js'
import { named, workloadsOf } from './workload.js'

const container = named(
  named(workloadsOf(renderKustomization('.')), 'llm-gateway').pod.containers,
  'envoy',
)
const scripts = join(repository, 'deploy', 'kubernetes', 'gateway')
const root = mkdtempSync(join(tmpdir(), 'tollgate-drain-'))

/** What is to be stopped at the end, the last first. */
const endings: (() => unknown)[] = []
afterAll(async () => {
  for (const end of endings.reverse()) await end()
  rmSync(root, { recursive: true, force: true })
})

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  endings.push(() => server.close())
  return (server.address() as AddressInfo).port
}

/** Streams that the upstream has begun and not ended. */
const open: ServerResponse[] = []
const upstream = createServer((request, response) => {
  if (request.url === '/stream') {
    response.write('begun\n')
    open.push(response)
  } else {
    response.end('answered\n')
  }
})
endings.push(() => {
  for (const response of open) response.end()
})

let upstreamPort: number
beforeAll(async () => {
  upstreamPort = await listen(upstream)
  // The scripts' `sleep`: says for how long, and ends once it is told to.
  writeFileSync(
    join(root, 'sleep'),
    '#!/usr/bin/env bash\nexec 3<>"/dev/tcp/127.0.0.1/$SLEEP_PORT"\necho "$*" >&3\nread -r <&3\n',
    { mode: 0o755 },
  )
})

/** As deployed, but for its configuration. */
async function startEnvoy(...more: readonly string[]): Promise<EnvoyProcess> {
  const directory = mkdtempSync(join(root, 'envoy-'))
  const configFile = join(directory, 'envoy.json')
  writeFileSync(configFile, JSON.stringify(plainEnvoy(upstreamPort)))
  const args = (container.args ?? []).map((arg) => (arg.startsWith('/etc/') ? configFile : arg))
  const started = await startEnvoyProcess(directory, [...args, ...more])
  endings.push(() => started.child.stop())
  return started
}

interface Ended {
  readonly code: number | null
  readonly output: string
  readonly errors: string
}

interface Clock {
  /** What bash's SECONDS begins with. */
  readonly seconds?: number
  /** What happens while the script sleeps: the next thing that it does comes after it. */
  readonly onSleep?: (seconds: string) => unknown
}

/** Runs a script to its end. Its sleeps take no time but that of `onSleep`. */
async function run(
  script: string,
  args: readonly (string | number)[],
  { seconds = 0, onSleep = () => undefined }: Clock = {},
): Promise<Ended> {
  const faults: unknown[] = []
  const sleepPort = await listen(
    createTcpServer((sleeper) => {
      sleeper.once('data', (duration) => {
        void (async () => onSleep(duration.toString().trim()))()
          .catch((cause: unknown) => {
            faults.push(cause)
            child.kill('SIGKILL')
          })
          .finally(() => sleeper.end())
      })
    }),
  )
  const child = spawn('bash', [join(scripts, script), ...args.map(String)], {
    env: {
      ...process.env,
      PATH: `${root}:${process.env['PATH'] ?? ''}`,
      SLEEP_PORT: String(sleepPort),
      SECONDS: String(seconds),
    },
  })
  endings.push(() => child.kill('SIGKILL'))
  const [code, output, errors] = await Promise.all([
    new Promise<number | null>((resolve) => child.once('close', resolve)),
    text(child.stdout),
    text(child.stderr),
  ])
  for (const fault of faults) throw fault
  return { code, output, errors }
}

describe('drain-envoy.bash, step by step', () => {
  /** Runs it against an admin that counts so many requests under way, one figure for each look. */
  async function stepsWith(...figures: readonly string[]): Promise<readonly string[]> {
    const steps: string[] = []
    const left = [...figures]
    const busy = new Set(['POST', 'GET'])
    const adminPort = await listen(
      createServer(({ method = '', url = '' }, response) => {
        steps.push(`${method} ${url}`)
        // Each is refused the first time where the case says so.
        if (left[0] === 'busy' && busy.delete(method)) {
          if (busy.size === 0) left.shift()
          response.writeHead(503).end('busy\n')
          return
        }
        response.end(method === 'POST' ? 'OK\n' : `${left.shift() ?? ''}\n`)
      }),
    )
    const { code } = await run('drain-envoy.bash', [15, 1830, adminPort], {
      onSleep: (seconds) => steps.push(`sleep ${seconds}`),
    })
    return [...steps, `exit ${String(code)}`]
  }

  const drain = 'POST /drain_listeners?graceful&skip_exit'
  const look = 'GET /stats?filter=^http\\.llm\\.downstream_rq_active$'
  const active = (count: number): string => `http.llm.downstream_rq_active: ${String(count)}`

  test('it lets the cluster settle before it looks, though nobody may be there', async () => {
    expect(await stepsWith(active(0))).toEqual([drain, 'sleep 15', look, 'exit 0'])
  })

  test('it looks once a second until no request is under way', async () => {
    expect(await stepsWith(active(10), active(1), active(0))).toEqual([
      ...[drain, 'sleep 15'],
      ...[look, 'sleep 1', look, 'sleep 1', look],
      'exit 0',
    ])
  })

  test('an answer without the figure does not end it', async () => {
    expect(await stepsWith('', active(0))).toEqual([
      ...[drain, 'sleep 15', look, 'sleep 1', look],
      'exit 0',
    ])
  })

  test('an Envoy that is busy is asked again, for streams may be under way', async () => {
    expect(await stepsWith('busy', active(0))).toEqual([
      ...[drain, 'sleep 1', drain, 'sleep 15', look, 'sleep 1', look],
      'exit 0',
    ])
  })
})

// In this order: an Envoy that drains does not stop draining.
describe('with the real Envoy', () => {
  let envoy: EnvoyProcess
  beforeAll(async () => {
    envoy = await startEnvoy()
  })

  async function beginStream(): Promise<ReadableStreamDefaultReader<Uint8Array>> {
    const response = await fetch(`${envoy.url}/stream`)
    if (response.body === null) throw new Error('no body')
    const reader = response.body.getReader() as ReadableStreamDefaultReader<Uint8Array>
    await reader.read()
    return reader
  }

  test('ask-envoy.bash prints a 200 and succeeds', async () => {
    const { code, output } = await run('ask-envoy.bash', ['GET', '/ready', envoy.adminPort])
    expect(code).toBe(0)
    expect(output).toContain('LIVE')
  })

  test('it fails for anything else: Envoy takes no GET for what changes its state', async () => {
    const { code, output } = await run('ask-envoy.bash', [
      'GET',
      '/drain_listeners?graceful',
      envoy.adminPort,
    ])
    expect(code).toBe(1)
    expect(output).toContain('405 Method Not Allowed')
  })

  test('it says so when nobody listens', async () => {
    expect(await run('ask-envoy.bash', ['GET', '/ready', 1])).toMatchObject({ code: 2 })
  })

  test('before a drain connections stay', async () => {
    const response = await fetch(envoy.url)
    expect([response.status, response.headers.get('connection')]).toEqual([200, null])
    await response.text()
  })

  test('drain-envoy.bash waits for the stream under way, while whoever still comes is answered and sent elsewhere', async () => {
    const reader = await beginStream()
    const sleeps: string[] = []
    const ended = await run('drain-envoy.bash', [15, 1830, envoy.adminPort], {
      onSleep: async (seconds) => {
        sleeps.push(seconds)
        if (sleeps.length === 1) {
          // The very first answer says it; the default strategy would begin with a few of them.
          const response = await fetch(envoy.url)
          expect(await response.text()).toBe('answered\n')
          expect(response.headers.get('connection')).toBe('close')
        } else if (sleeps.length === 3) {
          // It has looked twice, and is there still.
          open.pop()?.end('ended\n')
          expect(Buffer.from((await reader.read()).value ?? []).toString()).toBe('ended\n')
        }
      },
    })
    expect(ended).toMatchObject({ code: 0, errors: '' })
    expect(sleeps.slice(0, 3)).toEqual(['15', '1', '1'])
    expect(envoy.child.running()).toBe(true)
  })

  test('it ends at its deadline, and says how many streams are cut', async () => {
    const reader = await beginStream()
    const sleeps: string[] = []
    const ended = await run('drain-envoy.bash', [15, 1830, envoy.adminPort], {
      seconds: 1830,
      onSleep: (seconds) => sleeps.push(seconds),
    })
    expect(ended).toMatchObject({ code: 1, errors: 'requests still under way: 1\n' })
    expect(sleeps).toEqual(['15'])
    open.pop()?.end()
    await reader.cancel()
  })

  test('it has nothing to do where nobody listens', async () => {
    expect(await run('drain-envoy.bash', [15, 1830, 1])).toMatchObject({
      code: 0,
      output: 'nobody listens: nothing to drain\n',
    })
  })

  test('Envoy goes on accepting when its drain time is over, which without skip_exit it does not', async () => {
    const [drained, control] = await Promise.all([
      startEnvoy('--drain-time-s', '1'),
      startEnvoy('--drain-time-s', '1'),
    ])
    const accepts = ({ url }: EnvoyProcess): Promise<boolean> =>
      fetch(url, { headers: { connection: 'close' } }).then(
        async (response) => (await response.text()) === 'answered\n',
        () => false,
      )
    const { code, errors } = await run('drain-envoy.bash', [0, 60, drained.adminPort])
    expect({ code, errors }).toEqual({ code: 0, errors: '' })
    // Later by some moments, so once this one's drain time is over, that of the other is.
    await fetch(`${control.adminUrl}/drain_listeners?graceful`, { method: 'POST' })
    await expect.poll(() => accepts(control), { timeout: 20_000 }).toBe(false)
    expect(await accepts(drained)).toBe(true)
  })
})

/** The parts of an Envoy that a drain concerns; `llm` is the name that the script looks for. */
function plainEnvoy(upstreamPort: number): object {
  const loopback = (port: number) => ({
    socket_address: { address: '127.0.0.1', port_value: port },
  })
  const typed = (name: string, more: object = {}) => ({
    '@type': `type.googleapis.com/envoy.extensions.filters.${name}`,
    ...more,
  })
  return {
    admin: { address: loopback(0) },
    static_resources: {
      listeners: [
        {
          name: 'llm',
          address: loopback(0),
          filter_chains: [
            {
              filters: [
                {
                  name: 'http',
                  typed_config: typed('network.http_connection_manager.v3.HttpConnectionManager', {
                    stat_prefix: 'llm',
                    route_config: {
                      virtual_hosts: [
                        {
                          name: 'all',
                          domains: ['*'],
                          routes: [
                            {
                              match: { prefix: '/' },
                              route: { cluster: 'upstream', timeout: '0s' },
                            },
                          ],
                        },
                      ],
                    },
                    http_filters: [
                      { name: 'router', typed_config: typed('http.router.v3.Router') },
                    ],
                  }),
                },
              ],
            },
          ],
        },
      ],
      clusters: [
        {
          name: 'upstream',
          type: 'STATIC',
          load_assignment: {
            cluster_name: 'upstream',
            endpoints: [{ lb_endpoints: [{ endpoint: { address: loopback(upstreamPort) } }] }],
          },
        },
      ],
    },
  }
}
