import type { SayFault } from './faults.js'
import { soundItems, wrong } from './partly.js'
import { refuseRepeats } from './repeats.js'
import type { FileContent } from './schema.js'
import { maxEntries } from './schema-entries.js'

/** Rules of the API keys, and that somebody can call at all. */
export function checkApiKeys({ issuers, apiKeys }: FileContent, fault: SayFault): void {
  const entries = soundItems(apiKeys)
  refuseRepeats(
    entries.map(({ index, item }) => ({ at: ['apiKeys', index, 'id'], name: item.id })),
    'an id',
    fault,
  )
  // One key would be two callers.
  refuseRepeats(
    entries.map(({ index, item }) => ({ at: ['apiKeys', index, 'sha256'], name: item.sha256 })),
    'the hash of a key',
    fault,
  )
  if (issuers === wrong || apiKeys === wrong || issuers.length + apiKeys.length > 0) return
  fault(
    ['issuers'],
    `a list of 1 to ${String(maxEntries)} issuers, or apiKeys: without both, nobody could call`,
  )
}
