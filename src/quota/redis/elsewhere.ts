import type { Hold } from '../ledger.js'
import type { Buckets, Part } from './buckets.js'
import type { Elsewhere } from './replies.js'
import { storedPartition } from './stored-keys.js'

/** What of a reservation is not in its home, as the home keeps it. */
export function elsewhereOf(
  buckets: Buckets,
  holds: readonly Hold[],
  home: Part,
): readonly Elsewhere[] {
  return holds.flatMap((hold, index) => {
    if (home.indices.includes(index)) return []
    const tag = buckets.tagOf(buckets.ofPartition(hold.partitionKey))
    return [[index, storedPartition(hold, tag), String(hold.amount)] as const]
  })
}
