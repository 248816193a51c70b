import { SLOTS } from './slots.js'

/** Which node has which slot. */
export interface SlotMap {
  /** By slot; undefined where no node has it. */
  readonly owners: readonly (string | undefined)[]
  readonly masters: ReadonlySet<string>
}

/** Names a node: `host port`. A host has no space in it. */
export function nodeName(host: string, port: number): string {
  return `${host} ${String(port)}`
}

/** Masters beyond are not asked for: the answer is not one of a cluster that Tollgate was made for. */
const MAX_MASTERS = 1000

/**
 * Reads the answer to CLUSTER SLOTS: `[first, last, [host, port, ...] of the master, ... of its replicas]` each.
 *
 * @param askedHost who answered: a node that names no host means this one
 * @throws Error it is not such an answer, or names no master
 */
export function readSlotMap(answer: unknown, askedHost: string): SlotMap {
  const owners = new Array<string | undefined>(SLOTS).fill(undefined)
  const masters = new Set<string>()
  for (const range of asList(answer)) {
    const [first, last, master] = asList(range)
    const [host, port] = asList(master)
    const isRange = isBelow(first, SLOTS) && isBelow(last, SLOTS) && isBelow(port, 65_536)
    if (!isRange) throw new Error('no answer to CLUSTER SLOTS')
    // A node that does not know its own name says `?`.
    if (host === '?') continue
    const name = nodeName(typeof host === 'string' && host !== '' ? host : askedHost, port)
    masters.add(name)
    owners.fill(name, first, last + 1)
  }
  // A node that has not joined yet, or was reset, knows of nobody: it is one of no cluster.
  if (masters.size === 0) throw new Error('no node has a slot')
  if (masters.size > MAX_MASTERS) throw new Error('too many masters')
  return { owners, masters }
}

function asList(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value
  throw new Error('no answer to CLUSTER SLOTS')
}

function isBelow(value: unknown, end: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < end
}
