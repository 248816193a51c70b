import type { SayFault } from './faults.js'
import { given } from './partly.js'
import { checkRedis } from './redis-rules.js'
import type { FileContent } from './schema.js'
import { redisPlace } from './schema-redis.js'

/** What a ledger in memory has no use for. */
const redisKeys = [
  ...(Object.keys(redisPlace()) as (keyof ReturnType<typeof redisPlace>)[]),
  'processes',
] as const

/** Rules of the section `ledger` that join several keys. */
export function checkLedger({ ledger }: FileContent, fault: SayFault): void {
  for (const key of redisKeys) {
    given([ledger.kind, ledger[key]], (kind, value) => {
      if (kind === 'memory' && value !== undefined) {
        fault(['ledger', key], 'to be left out, since ledger.kind is memory')
      }
    })
  }
  if (ledger.kind === 'redis') checkRedis(ledger, ['ledger'], ', since ledger.kind is redis', fault)
}
