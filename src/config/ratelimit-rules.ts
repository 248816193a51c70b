import type { SayFault } from './faults.js'
import { given, wrong } from './partly.js'
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
  given([section.mode, ledger.kind, ledger.cluster], (mode, kind, cluster) => {
    const isInCluster = kind === 'redis' && cluster !== undefined && section.redis === undefined
    if (mode === 'shared' && isInCluster) {
      fault(
        ['rateLimitService', 'redis'],
        'a single server, since the keys of mode shared are in no one slot of ledger.cluster',
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
    const server = section[name]
    if (server === undefined || server === wrong) continue
    const at = ['rateLimitService', name]
    given([server.url, server.tls], (url, tls) => {
      if (tls === undefined || url.startsWith('rediss:')) return
      fault([...at, 'tls'], 'to be left out, or url to begin with rediss://')
    })
    given([server.user, server.passwordFile], (user, passwordFile) => {
      if (user === undefined || passwordFile !== undefined) return
      fault([...at, 'passwordFile'], 'the file with the password of the user')
    })
  }
}
