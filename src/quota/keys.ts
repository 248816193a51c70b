import { createHash } from 'node:crypto'
import type { PartitionDimension, Quota } from './quota.js'

/** What a caller and its request are counted by. */
export interface PartitionedCaller {
  readonly tenant: string
  readonly subject: string
  /** Undefined when the credential names none, which differs from every name. */
  readonly client: string | undefined
  readonly groups: readonly string[]
  /** The model's name in the policy, not the alias that the caller wrote. */
  readonly model: string
}

/** 128 bits in base64url: two of 2^40 partitions share a key with a chance of 2^-49. */
const HASH_CHARACTERS = 22

/**
 * The key under which a ledger counts this caller's spending on this quota: `{` tenant hash `}` partition hash.
 *
 * Two callers that differ in a dimension of the quota never share one, and nothing of a caller is readable in it
 * (invariant 8). The quota's name, unit and kind of window are in it; its limit, length, groups and models are
 * not, so that a reload that changes those keeps what was spent. The braces are a Redis hash tag: all partitions
 * of a tenant live on one node of a cluster; a quota that is not by tenant has an empty one and is spread by its
 * whole key.
 */
export function partitionKey(quota: Quota, caller: PartitionedCaller): string {
  const tenant = quota.by.includes('tenant') ? hash(encode(caller.tenant)) : ''
  return `{${tenant}}${hash(spellPartition(quota, caller))}`
}

/** Injective: every part is tagged and says its length, so no part can pretend to be two or another. */
function spellPartition(quota: Quota, caller: PartitionedCaller): string {
  let spelling = encode(quota.name) + encode(quota.unit) + encode(quota.window.kind)
  for (const [dimension, valueOf] of dimensions) {
    if (!quota.by.includes(dimension)) continue
    const value = valueOf(caller, quota)
    spelling += dimension + (value === undefined ? '-' : encode(value))
  }
  return spelling
}

/** In an order of their own: the order in the policy file means nothing. */
const dimensions: readonly (readonly [
  PartitionDimension,
  (caller: PartitionedCaller, quota: Quota) => string | undefined,
])[] = [
  ['tenant', (caller) => caller.tenant],
  ['subject', (caller) => caller.subject],
  ['client', (caller) => caller.client],
  ['model', (caller) => caller.model],
  // In none of the quota's groups: the shared partition, which is not that of a group named "none".
  ['group', (caller, quota) => quota.groups.find((group) => caller.groups.includes(group))],
]

function encode(part: string): string {
  return `${String(part.length)}:${part}`
}

/** UTF-16, because UTF-8 would make one text of all lone surrogates. */
function hash(text: string): string {
  return createHash('sha256')
    .update(Buffer.from(text, 'utf16le'))
    .digest('base64url')
    .slice(0, HASH_CHARACTERS)
}
