import { SLOTS, slotOf } from '../src/store/store.js'
import type { StoreAddress } from '../src/store/store.js'
import { freePort, onFreePorts } from './free-port.js'
import { startRedis } from './redis-server.js'
import type { RedisServer } from './redis-server.js'
import { until } from './until.js'

/** A Redis Cluster of a test's own, on loopback; the masters have the slots in equal parts. */
export interface ClusterGroup {
  readonly address: Extract<StoreAddress, { readonly cluster: unknown }>
  readonly masters: readonly RedisServer[]
  readonly replicas: readonly RedisServer[]
  /** The master that had the slot of the key at the start. */
  masterOf(key: string): RedisServer
  /** Takes every key away. */
  flush(): Promise<void>
  keys(): Promise<readonly string[]>
  /** Opens the slot for a move, without moving a key. */
  openMove(slot: number, from: RedisServer, to: RedisServer): Promise<void>
  /** Moves up to `count` keys of the slot that are `which`; answers how many there were. */
  moveKeys(
    slot: number,
    from: RedisServer,
    to: RedisServer,
    count: number,
    which?: (key: string) => boolean,
  ): Promise<number>
  /** From now on the slot is the other's. */
  closeMove(slot: number, from: RedisServer, to: RedisServer): Promise<void>
  stop(): Promise<void>
}

interface Differences {
  readonly masters?: number
  /** One of each master. */
  readonly replicated?: boolean
  /** Clients and nodes speak TLS; the test's own clients come by the Unix sockets. */
  readonly tls?: { readonly caFile: string; readonly keyFile: string }
}

export async function startCluster({
  masters: count = 3,
  replicated = false,
  tls,
}: Differences = {}): Promise<ClusterGroup> {
  const nodes: RedisServer[] = []
  for (let index = 0; index < (replicated ? 2 * count : count); index += 1) {
    nodes.push(
      await onFreePorts(async () =>
        startRedis(
          ...['--cluster-enabled', 'yes', '--cluster-node-timeout', '1500'],
          ...['--cluster-port', String(await freePort()), '--repl-diskless-sync-delay', '0'],
          ...(await secured(tls)),
        ),
      ),
    )
  }
  const portOf = async ({ client, port }: RedisServer): Promise<number> => {
    if (tls === undefined) return port
    return Number((await client.config('GET', 'tls-port'))[1])
  }
  const ports = await Promise.all(nodes.map(portOf))
  const busPort = async ({ client }: RedisServer): Promise<string> => {
    const told = await client.config('GET', 'cluster-port')
    return told[1] ?? ''
  }
  const first = nodes[0] as RedisServer
  const masters = nodes.slice(0, count)
  const replicas = nodes.slice(count)
  for (const [index, { client }] of nodes.entries()) {
    await client.call('CLUSTER', 'SET-CONFIG-EPOCH', String(index + 1))
    const [from, to] = [index, index + 1].map((part) => Math.floor((part * SLOTS) / count))
    if (index >= count) continue
    await client.call('CLUSTER', 'ADDSLOTSRANGE', String(from), String((to ?? 0) - 1))
  }
  const bus = await busPort(first)
  for (const { client } of nodes.slice(1)) {
    await client.call('CLUSTER', 'MEET', '127.0.0.1', String(ports[0]), bus)
  }
  const everyNode = (ask: (node: RedisServer) => Promise<void>): Promise<void> =>
    until(async () => {
      for (const node of nodes) await ask(node)
    })
  await everyNode(async ({ client }) => {
    const info = String(await client.call('CLUSTER', 'INFO'))
    const known = new RegExp(`cluster_known_nodes:${String(nodes.length)}\\b`)
    if (!/cluster_state:ok/.test(info) || !known.test(info)) throw new Error('no cluster yet')
  })
  for (const [index, replica] of replicas.entries()) {
    await replica.client.call('CLUSTER', 'REPLICATE', await idOf(masters[index] as RedisServer))
  }
  if (replicated) {
    await everyNode(async ({ client }) => {
      const told = (await client.call('CLUSTER', 'SLOTS')) as unknown[][]
      if (!told.every((range) => range.length === 4)) throw new Error('a replica is missing')
    })
    for (const { client } of replicas) {
      await until(async () => {
        const [role, , , state] = (await client.call('ROLE')) as string[]
        if (role !== 'slave' || state !== 'connected') throw new Error('not in step')
      })
    }
  }

  return {
    address: {
      caFile: tls?.caFile,
      user: undefined,
      passwordFile: undefined,
      cluster: {
        nodes: ports
          .slice(0, count)
          .map((port) => `redis${tls === undefined ? '' : 's'}://127.0.0.1:${String(port)}`),
      },
    },
    masters,
    replicas,
    masterOf: (key) => masters[Math.floor((slotOf(key) * count) / SLOTS)] as RedisServer,
    async flush() {
      for (const { client } of masters) await client.flushall()
    },
    async keys() {
      return (await Promise.all(masters.map(({ client }) => client.keys('*')))).flat()
    },
    async openMove(slot, from, to) {
      await setSlot(to, slot, 'IMPORTING', await idOf(from))
      await setSlot(from, slot, 'MIGRATING', await idOf(to))
    },
    async moveKeys(slot, from, to, atMost, which = () => true) {
      const told = await from.client.call('CLUSTER', 'GETKEYSINSLOT', slot, atMost)
      const keys = (told as string[]).filter(which)
      if (keys.length > 0) {
        await from.client.call(
          'MIGRATE',
          ...['127.0.0.1', String(await portOf(to)), '', '0', '5000', 'KEYS'],
          ...keys,
        )
      }
      return keys.length
    },
    async closeMove(slot, from, to) {
      const id = await idOf(to)
      // First there, or the node that gives it away would send everybody to one that does not have it yet.
      for (const node of [to, from, ...masters]) await setSlot(node, slot, 'NODE', id)
    },
    async stop() {
      for (const node of nodes) await node.stop()
    },
  }
}

async function secured(tls: Differences['tls']): Promise<readonly string[]> {
  if (tls === undefined) return []
  return [
    ...['--tls-port', String(await freePort()), '--tls-cluster', 'yes', '--tls-replication', 'yes'],
    ...['--tls-auth-clients', 'no', '--tls-ca-cert-file', tls.caFile],
    ...['--tls-cert-file', tls.caFile, '--tls-key-file', tls.keyFile],
  ]
}

async function idOf({ client }: RedisServer): Promise<string> {
  return String(await client.call('CLUSTER', 'MYID'))
}

async function setSlot(node: RedisServer, slot: number, ...rest: string[]): Promise<void> {
  await node.client.call('CLUSTER', 'SETSLOT', String(slot), ...rest)
}
