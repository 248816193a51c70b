import { DependencyError } from '../errors.js'
import type { Hold } from './ledger.js'

/** The ledger has no room for another partition or reservation; nothing of the call took effect. */
export class FullError extends DependencyError {
  /** Those that found no room: the others of the request might still be held. */
  readonly holds: readonly Hold[]

  constructor(holds: readonly Hold[]) {
    super('ledger', 'the ledger holds as much as it may')
    this.name = 'FullError'
    this.holds = holds
  }
}
