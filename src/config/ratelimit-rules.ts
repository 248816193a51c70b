import type { SayFault } from './faults.js'
import { given, wrong } from './partly.js'
import { checkRedis } from './redis-rules.js'
import type { FileContent } from './schema.js'

/** Rules of the section `rateLimitService`. */
export function checkRateLimitService(
  { rateLimitService: section, ledger }: FileContent,
  fault: SayFault,
): void {
  if (section === undefined || section === wrong) return
  const isInMemory = section.redis === undefined && ledger.kind === 'memory'
  given([section.mode], (mode) => {
    if (mode === 'shared' && isInMemory) {
      fault(
        ['rateLimitService', 'redis'],
        'the Redis that envoyproxy/ratelimit counts in, since the mode is shared and ledger.kind is memory',
      )
    }
  })
  given([section.perSecond], (perSecond) => {
    if (perSecond !== undefined && isInMemory) {
      fault(
        ['rateLimitService', 'redis'],
        'where all other limits are counted, since perSecond is given and ledger.kind is memory',
      )
    }
  })
  for (const name of ['redis', 'perSecond'] as const) {
    const redis = section[name]
    if (redis === undefined || redis === wrong) continue
    checkRedis(redis, ['rateLimitService', name], '', fault)
  }
}
