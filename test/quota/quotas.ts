import type { Hold } from '../../src/quota/ledger.js'
import type { CalendarPeriod, Quota, Window } from '../../src/quota/quota.js'

/** A token quota of a sliding minute, with what the test says otherwise. */
export function quotaOf(differences: Partial<Quota> = {}): Quota {
  return {
    name: 'user-minute',
    unit: 'tokens',
    limit: 100,
    window: { kind: 'sliding', lengthMs: 64_000 },
    by: ['tenant'],
    groups: [],
    models: [],
    shadow: false,
    ...differences,
  }
}

export function calendar(period: CalendarPeriod, timeZone = 'UTC'): Window {
  return { kind: 'calendar', period, timeZone }
}

export function holdOf(quota: Quota, amount: number, partition = 'a'): Hold {
  return { quota, partitionKey: `${quota.name} ${partition}`, amount }
}
