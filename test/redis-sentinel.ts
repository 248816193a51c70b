import { randomUUID } from 'node:crypto'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { StoreAddress } from '../src/store/store.js'
import { freePort } from './free-port.js'
import { launchRedis, startRedis } from './redis-server.js'
import type { RedisProcess, RedisServer } from './redis-server.js'
import { until } from './until.js'

/** A master, a replica and Sentinels of a test's own, on loopback. */
export interface SentinelGroup {
  readonly address: Extract<StoreAddress, { readonly sentinel: unknown }>
  /** The two servers; the first is the master at the start. */
  readonly servers: readonly [RedisServer, RedisServer]
  readonly sentinels: readonly { readonly client: Redis }[]
  /** The server that is the master in the eyes of all Sentinels. */
  master(): Promise<RedisServer>
  /** The replica gets nothing more of what the first server is told, and is not told so. */
  cutReplication(): Promise<void>
  stop(): Promise<void>
}

interface Differences {
  readonly sentinels?: number
  /** Options of both servers. */
  readonly options?: readonly string[]
  /** Lines in the configuration of each Sentinel. */
  readonly lines?: readonly string[]
  /** All of them speak TLS alone with each other and with clients. */
  readonly tls?: { readonly caFile: string; readonly keyFile: string }
}

export async function startSentinels({
  sentinels: count = 3,
  options = [],
  lines = [],
  tls,
}: Differences = {}): Promise<SentinelGroup> {
  const secured =
    tls === undefined
      ? []
      : [
          ...['tls-replication yes', 'tls-auth-clients no', `tls-ca-cert-file ${tls.caFile}`],
          ...[`tls-cert-file ${tls.caFile}`, `tls-key-file ${tls.keyFile}`],
        ]
  // As fast as it may: a replica that is not synchronised at once would keep a test waiting.
  const common = [
    ...['--repl-diskless-sync-delay', '0', ...options],
    ...['--masteruser', 'replica', '--masterauth', 'word'],
    ...['--user', 'replica', 'on', '>word', '+psync', '+replconf', '+ping'],
    ...secured.flatMap((line) => `--${line}`.split(' ')),
  ]
  // Of its own: Sentinels that know each other by a port which was in use before would mix two groups up.
  const masterName = `ledger-${randomUUID()}`
  const scheme = tls === undefined ? 'redis' : 'rediss'
  const startServer = async (...more: readonly string[]) => {
    if (tls === undefined) {
      const server = await startRedis(...common, ...more)
      return { server, port: server.port }
    }
    const port = await freePort()
    return { server: await startRedis(...common, '--tls-port', String(port), ...more), port }
  }
  const first = await startServer()
  const second = await startServer('--replicaof', '127.0.0.1', String(first.port))
  const servers = [first.server, second.server] as const
  const quorum = String(Math.floor(count / 2) + 1)
  const sentinels: { port: number; process: RedisProcess; client: Redis }[] = []
  for (let index = 0; index < count; index += 1) {
    const port = await freePort()
    const directory = mkdtempSync(join(tmpdir(), 'rs-'))
    const file = join(directory, 'sentinel.conf')
    writeFileSync(
      file,
      [
        ...(tls === undefined ? [`port ${String(port)}`] : ['port 0', `tls-port ${String(port)}`]),
        ...secured,
        'bind 127.0.0.1',
        `dir ${directory}`,
        `sentinel monitor ${masterName} 127.0.0.1 ${String(first.port)} ${quorum}`,
        `sentinel down-after-milliseconds ${masterName} 500`,
        `sentinel failover-timeout ${masterName} 3000`,
        ...lines,
      ].join('\n') + '\n',
    )
    const process = launchRedis(directory, [file, '--sentinel'])
    const client = new Redis({
      host: '127.0.0.1',
      port,
      protocol: 2,
      retryStrategy: () => 20,
      maxRetriesPerRequest: null,
      ...(tls === undefined ? {} : { tls: { ca: readFileSync(tls.caFile) } }),
    })
    client.on('error', () => undefined)
    sentinels.push({ port, process, client })
  }

  async function master(): Promise<RedisServer> {
    const ports = await Promise.all(
      sentinels.map(async ({ client }) => {
        const told = await client.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', masterName)
        return (told as [string, string])[1]
      }),
    )
    const found = [first, second].find(({ port }) => ports.every((told) => told === String(port)))
    if (found === undefined) throw new Error('the Sentinels do not agree')
    return found.server
  }

  const inStep = (): Promise<void> =>
    until(async () => {
      const told = await (await master()).client.call('ROLE')
      const [role, , replicas] = told as [string, number, unknown[]]
      if (role !== 'master' || replicas.length === 0) throw new Error('no replica follows')
      for (const { client } of sentinels) {
        const known = await client.call('SENTINEL', 'REPLICAS', masterName)
        if ((known as unknown[]).length === 0) throw new Error('a Sentinel knows no replica')
      }
    })

  await Promise.race([inStep(), ...sentinels.map(({ process }) => process.diedEarly)])
  return {
    address: {
      caFile: tls?.caFile,
      user: undefined,
      passwordFile: undefined,
      sentinel: {
        master: masterName,
        nodes: sentinels.map(({ port }) => `${scheme}://127.0.0.1:${String(port)}`),
        user: undefined,
        passwordFile: undefined,
      },
    },
    servers,
    sentinels,
    master,
    async cutReplication() {
      await first.server.client.call('ACL', 'DELUSER', 'replica')
    },
    async stop() {
      for (const { client, process } of sentinels) {
        client.disconnect()
        await process.stop()
      }
      for (const server of servers) await server.stop()
    },
  }
}
