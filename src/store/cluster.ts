import { askOnce } from './ask-once.js'
import type { Call, Reply } from './call.js'
import { OutOfMemoryError, refusedFault, ScriptError } from './faults.js'
import { placeFrom } from './place.js'
import type { Access } from './place.js'
import { inTime, openServer } from './server.js'
import type { Server, ServerParts } from './server.js'
import { nodeName, readSlotMap } from './slot-map.js'
import type { SlotMap } from './slot-map.js'
import { slotOf } from './slots.js'

/** A Redis Cluster, known by some of its nodes. */
export interface ClusterAddress {
  /** `redis://host:port`, or `rediss://host:port` for all: then every node is spoken to by TLS. */
  readonly nodes: readonly string[]
}

/** As `Store`. */
export interface Cluster {
  run(call: Call): Promise<Reply>
  probe(): void
  nowMs(key?: string): number | undefined
  silentMs(key: string): number
  close(): void
}

type ClusterParts = Pick<
  ServerParts,
  'clock' | 'random' | 'scripts' | 'onUnavailable' | 'onAvailable'
>

/** So often at most it is asked which node has which slot. */
const LEARN_PAUSE_MS = 200
const LEARN_AGAIN_MS = 500
/** Asked at once; the first answer counts. */
const ASKED_AT_ONCE = 3
/** Before a command is sent once more to a node that has only a part of its keys. */
const TRY_AGAIN_PAUSE_MS = 10
/** A node that has left the map may still owe answers, for as long as a call can take. */
const RETIRE_MS = 5000

/**
 * Sends each call to the node that has its keys, which must be of one slot. Each node has a connection, a clock
 * and a breaker of its own: one that hangs fails its own slots alone. MOVED, ASK and TRYAGAIN say that nothing
 * has run, so each is followed, once, under the same deadline.
 */
export function openCluster(address: ClusterAddress, access: Access, parts: ClusterParts): Cluster {
  const { clock, random, scripts = [], onUnavailable, onAvailable } = parts
  const seeds = address.nodes.map(placeFrom)
  const secure = address.nodes.some((node) => node.startsWith('rediss:'))
  const servers = new Map<string, Server>()
  const retired = new Map<Server, NodeJS.Timeout>()
  /** What is unavailable: nodes by name, and the map itself. */
  const down = new Set<string>()
  let owners: (string | undefined)[] = []
  let closed = false
  let learning = false
  /** Once more, when the question under way is over. */
  let wanted = false
  let learntMs = -Infinity
  let timer: NodeJS.Timeout | undefined

  function tell(what: string, available: boolean, reason = ''): void {
    const before = down.size
    if (available) down.delete(what)
    else down.add(what)
    if (before === 0 && down.size > 0) onUnavailable?.(`${reason} (a node of the cluster)`)
    if (before > 0 && down.size === 0) onAvailable?.()
  }

  function placeOf(node: string) {
    const [host = '', port] = node.split(' ')
    return { host, port: Number(port), database: 0, secure }
  }

  function serverAt(node: string): Server {
    const known = servers.get(node)
    if (known !== undefined) return known
    if (closed) throw refusedFault('the store is closed')
    const place = placeOf(node)
    const server = openServer({
      clock,
      random,
      access,
      redirects: true,
      scripts,
      find: () => Promise.resolve(place),
      onUnavailable: (reason) => {
        if (servers.get(node) !== server) return
        tell(node, false, reason)
        learnSoon()
      },
      onAvailable: () => {
        if (servers.get(node) === server) tell(node, true)
      },
    })
    servers.set(node, server)
    return server
  }

  function retire(node: string, server: Server): void {
    servers.delete(node)
    tell(node, true)
    const close = (): void => {
      retired.delete(server)
      server.close()
    }
    retired.set(server, setTimeout(close, RETIRE_MS).unref())
  }

  async function askForMap(): Promise<SlotMap> {
    const nodes = new Set([
      ...servers.keys(),
      ...seeds.flatMap((seed) => ('host' in seed ? [nodeName(seed.host, seed.port)] : [])),
    ])
    const drawn = [...nodes]
      .map((node) => ({ node, at: random() }))
      .sort((one, other) => one.at - other.at)
      .slice(0, ASKED_AT_ONCE)
    return Promise.any(
      drawn.map(async ({ node }) => {
        const place = placeOf(node)
        return readSlotMap(await askOnce(place, access, ['CLUSTER', 'SLOTS']), place.host)
      }),
    )
  }

  async function learn(): Promise<void> {
    learning = true
    let pauseMs: number | undefined
    try {
      const map = await askForMap()
      if (closed) return
      owners = [...map.owners]
      for (const node of map.masters) serverAt(node)
      for (const [node, server] of servers) if (!map.masters.has(node)) retire(node, server)
      tell('map', true)
      if (wanted) pauseMs = LEARN_PAUSE_MS
    } catch {
      if (closed) return
      tell('map', false, 'no node says which has what')
      pauseMs = LEARN_AGAIN_MS * (0.5 + random() / 2)
    } finally {
      learning = false
      wanted = false
      learntMs = clock.monotonicMs()
      if (pauseMs !== undefined) learnSoon(pauseMs)
    }
  }

  function learnSoon(pauseMs = LEARN_PAUSE_MS): void {
    // What the question under way answers may be older than what it is wanted for.
    if (learning) wanted = true
    if (closed || learning || timer !== undefined) return
    timer = setTimeout(
      () => {
        timer = undefined
        void learn()
      },
      Math.max(0, learntMs + pauseMs - clock.monotonicMs()),
    )
  }

  async function ask(node: string, call: Call, asking: boolean) {
    try {
      return await serverAt(node).run(call, asking)
    } catch (error) {
      // It may have gone, and another have taken its slots over; but not where it has answered as their owner.
      if (!(error instanceof ScriptError || error instanceof OutOfMemoryError)) learnSoon()
      throw error
    }
  }

  const learntOnce = learn()

  async function run(call: Call): Promise<Reply> {
    const slot = call.slot ?? slotOf(call.keys[0] ?? '')
    if (owners.length === 0) {
      await inTime(clock, learntOnce, call.dueMonotonicMs).catch(() => undefined)
    }
    let node = owners[slot]
    if (node === undefined) {
      learnSoon()
      throw refusedFault('no node of the cluster has the slot, as far as is known')
    }
    let asking = false
    const healed = new Set<string>()
    for (;;) {
      const reply = await ask(node, call, asking)
      if (!('kind' in reply)) return reply
      const { kind } = reply
      if (healed.has(kind) || (kind === 'ASK' && call.script.touches === 'slot')) {
        throw refusedFault(`Redis answered ${kind}`)
      }
      healed.add(kind)
      if (reply.kind === 'TRYAGAIN') {
        await pause(TRY_AGAIN_PAUSE_MS)
        continue
      }
      asking = reply.kind === 'ASK'
      const [host = ''] = node.split(' ')
      node = nodeName(reply.host === '' ? host : reply.host, reply.port)
      if (!asking) {
        owners[slot] = node
        learnSoon()
      }
    }
  }

  return {
    run,
    probe() {
      // A node that is lost may have been replaced since it last failed a call.
      if (down.size > 0) learnSoon()
      for (const server of servers.values()) server.probe()
    },
    nowMs(key) {
      const node = key === undefined ? undefined : owners[slotOf(key)]
      const server = node === undefined ? [...servers.values()][0] : servers.get(node)
      return server?.nowMs()
    },
    silentMs(key) {
      const node = owners[slotOf(key)]
      return (node === undefined ? undefined : servers.get(node)?.silentMs()) ?? 0
    },
    close() {
      closed = true
      clearTimeout(timer)
      for (const [server, closing] of retired) {
        clearTimeout(closing)
        server.close()
      }
      for (const server of servers.values()) server.close()
      servers.clear()
    },
  }
}

function pause(durationMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, durationMs))
}
