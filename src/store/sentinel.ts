import { askOnce } from './ask-once.js'
import { placeFrom } from './place.js'
import type { Access, Place } from './place.js'

/** Sentinels, and the name by which they know a master and its replicas. */
export interface SentinelAddress {
  readonly master: string
  /** `redis://host:port`, or `rediss://host:port` for all: then the master is spoken to by TLS as well. */
  readonly nodes: readonly string[]
  readonly user: string | undefined
  readonly passwordFile: string | undefined
}

/**
 * Finds the master. Each call asks the next Sentinel, so one that is gone, hangs, or lies behind a broken network
 * and still names the old master costs one attempt.
 */
export function createMasterFinder(
  { master, nodes, user, passwordFile }: SentinelAddress,
  caFile: Access['caFile'],
): () => Promise<Place> {
  let turn = 0
  return async () => {
    const sentinel = placeFrom(nodes[turn % nodes.length] ?? '')
    turn += 1
    const told = await askOnce(sentinel, { caFile, user, passwordFile }, [
      'SENTINEL',
      'GET-MASTER-ADDR-BY-NAME',
      master,
    ])
    if (!Array.isArray(told)) throw new Error('the Sentinel knows no master of this name')
    const [host, port] = told as [string, string]
    const secure = 'secure' in sentinel && sentinel.secure
    return { host, port: Number(port), database: 0, secure }
  }
}
