import { rmSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createCertificates, envoyIdentity } from './certificates.js'
import type { DemoCertificates } from './certificates.js'
import { startEnvoy } from './envoy.js'
import type { Envoy } from './envoy.js'
import { startGpuNode } from './gpu-node.js'
import type { GpuNode } from './gpu-node.js'
import { startIdentityProvider } from './identity-provider.js'
import type { Caller, IdentityProvider } from './identity-provider.js'
import { startDemoRedis } from './redis.js'
import type { DemoRedis } from './redis.js'
import { startTollgate } from './tollgate.js'
import type { Tollgate } from './tollgate.js'

/** The callers of `policy.yaml`. */
export const demoCallers: readonly Caller[] = [
  { name: 'alice', tenant: 'acme', groups: ['research'] },
  { name: 'bob', tenant: 'acme', groups: ['sales'] },
  { name: 'carol', tenant: 'umbra', groups: ['research'] },
]

/** Which models each pool's node serves. */
const poolModels: Readonly<Record<string, readonly string[]>> = {
  'gpu-a': ['llama-3.3-70b', 'llama'],
  'gpu-b': ['qwen-2.5-7b', 'qwen'],
}

/** Every port of a stack, by what listens there. */
export interface StackPorts {
  readonly envoy: number
  readonly envoyAdmin: number
  readonly identityProvider: number
  readonly tollgateMetrics: number
  readonly tollgateAdmin: number
  readonly nodeA: number
  readonly nodeB: number
}

export const demoPorts: StackPorts = {
  envoy: 8080,
  envoyAdmin: 9901,
  identityProvider: 9400,
  tollgateMetrics: 9192,
  tollgateAdmin: 9193,
  nodeA: 9443,
  nodeB: 9444,
}

/** Ports of a second Tollgate. */
export interface SecondPorts {
  readonly secondMetrics: number
  readonly secondAdmin: number
}

export const demoSecondPorts: SecondPorts = { secondMetrics: 9194, secondAdmin: 9195 }

export interface StackOptions {
  readonly ports: StackPorts
  /** With these, two Tollgates share a Redis of the stack's own, at `demoRedisUrl` in the policy. */
  readonly secondPorts?: SecondPorts | undefined
  /** A policy with the addresses of `policy.yaml`. */
  readonly policy: string
  readonly random: () => number
  /** What a test has different in Envoy's rendered configuration. */
  readonly changeEnvoy?: (config: string) => string
}

export interface Stack {
  readonly directory: string
  readonly certificates: DemoCertificates
  readonly identityProvider: IdentityProvider
  readonly nodeA: GpuNode
  readonly nodeB: GpuNode
  readonly tollgate: Tollgate
  /** Where two share a Redis: the second, and that Redis. */
  readonly second: Tollgate | undefined
  readonly redis: DemoRedis | undefined
  readonly envoy: Envoy
  /** Tollgate's gRPC address, a path. */
  readonly tollgateSocket: string
  /** Stops everything, the caller's side first; then removes the directory unless `keepFiles`. */
  stop(options?: { readonly keepFiles?: boolean }): Promise<void>
}

/**
 * Starts all that a request passes on its way: identity provider, GPU nodes, Tollgate (or two, and their
 * Redis), Envoy. What was started is stopped again when a later part fails.
 *
 * @throws Error a part did not start; a port in use is named in one line
 */
export async function startStack(options: StackOptions): Promise<Stack> {
  const { ports, secondPorts } = options
  await refuseBusyPorts({ ...ports, ...secondPorts })
  const directory = await mkdtemp(join(tmpdir(), 'tollgate-demo-'))
  // Who is interrupted while it starts ends at once, and with it what was started (`child.ts`).
  const removeAtExit = (): void => {
    try {
      rmSync(directory, { recursive: true, force: true })
    } catch {
      // One that is about to be killed has just written there, and must not live on for that.
    }
  }
  process.once('exit', removeAtExit)
  const stops: (() => Promise<void>)[] = []
  const stop = async ({ keepFiles = false } = {}): Promise<void> => {
    for (const stopOne of stops.splice(0).reverse()) await stopOne()
    if (!keepFiles) await rm(directory, { recursive: true, force: true })
  }
  try {
    const certificates = await createCertificates(directory, Object.keys(poolModels))
    const identityProvider = await startIdentityProvider({
      port: ports.identityProvider,
      callers: demoCallers,
      audience: 'llm',
    })
    stops.push(() => identityProvider.close())

    const startNode = async (pool: string, port: number): Promise<GpuNode> => {
      const certificate = certificates.nodes.get(pool)
      if (certificate === undefined) throw new Error(`no certificate for ${pool}`)
      const node = await startGpuNode({
        pool,
        port,
        models: poolModels[pool] ?? [],
        certificate,
        authorityFile: certificates.authorityFile,
        acceptsIdentity: envoyIdentity,
        random: options.random,
      })
      stops.push(() => node.close())
      return node
    }
    const nodeA = await startNode('gpu-a', ports.nodeA)
    const nodeB = await startNode('gpu-b', ports.nodeB)

    const redis = secondPorts === undefined ? undefined : await startDemoRedis(directory)
    if (redis !== undefined) stops.push(() => redis.child.stop())

    const startOne = async (
      own: string,
      metricsPort: number,
      adminPort: number,
    ): Promise<Tollgate> => {
      const places = {
        socket: join(own, 'tollgate.sock'),
        metricsPort,
        adminPort,
        issuer: identityProvider.issuer,
        redisSocket: redis?.socket,
      }
      const started = await startTollgate(own, places, options.policy)
      stops.push(() => started.child.stop())
      return started
    }
    const tollgate = await startOne(directory, ports.tollgateMetrics, ports.tollgateAdmin)
    let second: Tollgate | undefined
    if (secondPorts !== undefined) {
      const own = join(directory, 'second')
      await mkdir(own)
      second = await startOne(own, secondPorts.secondMetrics, secondPorts.secondAdmin)
    }

    const envoyPlaces = {
      listenerPort: ports.envoy,
      adminPort: ports.envoyAdmin,
      tollgateSocket: tollgate.socket,
      secondTollgateSocket: second?.socket,
      nodePorts: { 'gpu-a': nodeA.port, 'gpu-b': nodeB.port },
      certificateDirectory: directory,
    }
    const envoy = await startEnvoy(directory, envoyPlaces, options.changeEnvoy)
    // First of all to stop: Tollgate outlives it, so that the last reports arrive.
    stops.push(() => envoy.child.stop())
    return {
      directory,
      certificates,
      identityProvider,
      nodeA,
      nodeB,
      tollgate,
      second,
      redis,
      envoy,
      tollgateSocket: tollgate.socket,
      stop,
    }
  } catch (error) {
    // The message names a log in the directory, so the directory stays.
    await stop({ keepFiles: true })
    throw error
  } finally {
    process.removeListener('exit', removeAtExit)
  }
}

const partNames: Readonly<Record<string, string>> = {
  envoy: 'Envoy',
  envoyAdmin: "Envoy's admin",
  identityProvider: 'the identity provider',
  tollgateMetrics: "Tollgate's metrics",
  tollgateAdmin: "Tollgate's /usage",
  secondMetrics: "the second Tollgate's metrics",
  secondAdmin: "the second Tollgate's /usage",
  nodeA: 'the gpu-a node',
  nodeB: 'the gpu-b node',
}

/** @throws Error one of the ports is in use */
async function refuseBusyPorts(ports: StackPorts & Partial<SecondPorts>): Promise<void> {
  for (const [part, port] of Object.entries<number>({ ...ports })) {
    if (port !== 0 && (await isBusy(port))) {
      throw new Error(
        `port ${String(port)} is in use (wanted for ${partNames[part] ?? part}): stop what listens there, or take other ports: make run ARGS="--base-port 20000"`,
      )
    }
  }
}

async function isBusy(port: number): Promise<boolean> {
  const server = createServer()
  return new Promise((resolve) => {
    server.once('error', () => {
      resolve(true)
    })
    server.listen(port, '127.0.0.1', () => {
      server.close(() => {
        resolve(false)
      })
    })
  })
}
