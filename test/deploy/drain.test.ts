import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
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

let directory: string
let envoy: EnvoyProcess
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

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'tollgate-drain-'))
  await new Promise<void>((resolve) => {
    upstream.listen(0, '127.0.0.1', resolve)
  })
  const configFile = join(directory, 'envoy.json')
  writeFileSync(configFile, JSON.stringify(plainEnvoy((upstream.address() as AddressInfo).port)))
  // As deployed, but for the place of the configuration.
  const args = (container.args ?? []).map((arg) => (arg.startsWith('/etc/') ? configFile : arg))
  envoy = await startEnvoyProcess(directory, args)
})

afterAll(async () => {
  await envoy.child.stop()
  for (const response of open) response.end()
  upstream.close()
  rmSync(directory, { recursive: true, force: true })
})

interface Run {
  readonly exited: Promise<number | null>
  readonly output: Promise<string>
  readonly errors: Promise<string>
  readonly running: () => boolean
}

function run(script: string, ...args: readonly (string | number)[]): Run {
  const child = spawn('bash', [join(scripts, script), ...args.map(String)])
  return {
    exited: new Promise((resolve) => child.once('close', resolve)),
    output: text(child.stdout),
    errors: text(child.stderr),
    running: () => child.exitCode === null,
  }
}

async function beginStream(): Promise<ReadableStreamDefaultReader<Uint8Array>> {
  const response = await fetch(`${envoy.url}/stream`)
  if (response.body === null) throw new Error('no body')
  const reader = response.body.getReader() as ReadableStreamDefaultReader<Uint8Array>
  await reader.read()
  return reader
}

const pause = (durationMs: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, durationMs))

describe('ask-envoy.bash', () => {
  test('prints a 200 and succeeds', async () => {
    const asked = run('ask-envoy.bash', 'GET', '/ready', envoy.adminPort)
    expect(await asked.exited).toBe(0)
    expect(await asked.output).toContain('LIVE')
  })

  test('fails for anything else: Envoy takes no GET for what changes its state', async () => {
    const asked = run('ask-envoy.bash', 'GET', '/drain_listeners?graceful', envoy.adminPort)
    expect(await asked.exited).toBe(1)
    expect(await asked.output).toContain('405 Method Not Allowed')
  })

  test('fails when nobody answers', async () => {
    expect(await run('ask-envoy.bash', 'GET', '/ready', 1).exited).toBe(1)
  })
})

// In this order: an Envoy that drains does not stop draining.
describe('drain-envoy.bash', () => {
  test('before it, connections stay', async () => {
    const response = await fetch(envoy.url)
    expect([response.status, response.headers.get('connection')]).toEqual([200, null])
    await response.text()
  })

  test('waits for the stream under way, while whoever still comes is answered and sent elsewhere', async () => {
    const reader = await beginStream()
    const drain = run('drain-envoy.bash', 0, 60, envoy.adminPort)
    let connection: string | null = null
    while (connection !== 'close') {
      const response = await fetch(envoy.url)
      expect(await response.text()).toBe('answered\n')
      connection = response.headers.get('connection')
    }
    // It looks once a second: had it not waited, it would have ended by now.
    await pause(2500)
    expect(drain.running()).toBe(true)

    open.pop()?.end('ended\n')
    expect(Buffer.from((await reader.read()).value ?? []).toString()).toBe('ended\n')
    expect(await drain.exited).toBe(0)
    expect(await drain.errors).toBe('')
    expect(envoy.child.running()).toBe(true)
  })

  test('ends at its deadline, and says how many streams are cut', async () => {
    const reader = await beginStream()
    const drain = run('drain-envoy.bash', 0, 1, envoy.adminPort)
    expect(await drain.exited).toBe(1)
    expect(await drain.errors).toBe('requests still under way: 1\n')
    open.pop()?.end()
    await reader.cancel()
  })

  test('has nothing to do where no Envoy answers', async () => {
    const drain = run('drain-envoy.bash', 0, 60, 1)
    expect(await drain.exited).toBe(0)
    expect(await drain.output).toBe('Envoy does not answer: nothing to drain\n')
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
