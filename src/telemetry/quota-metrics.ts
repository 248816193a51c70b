import { Counter, Gauge } from 'prom-client'
import type { Registry } from 'prom-client'
import type { Ended, Hold } from '../quota/ledger.js'
import type { Quota } from '../quota/quota.js'

/** What became of a quota's units. */
const fates = [
  'reserved',
  'settled',
  'estimated',
  'released',
  'unsettled',
  'refunded',
  'debt',
] as const

export interface QuotaUnits {
  /** From now on these quotas have series, and no others. */
  follow(quotas: readonly Quota[]): void
  reserved(holds: readonly Hold[]): void
  ended(ended: Ended<unknown>): void
}

export function createQuotaUnits(registry: Registry): QuotaUnits {
  const units = new Counter({
    name: 'tollgate_quota_units_total',
    help: 'Units of each quota of the policy by what became of them: reserved at admission; then settled, estimated (what was used), released or unsettled (what was reserved); refunded and debt are the difference to the reservation.',
    labelNames: ['quota', 'unit', 'outcome'] as const,
    registers: [registry],
  })
  /** By name: a quota of another policy, as in a reservation of before, makes no series. */
  let followed = new Map<string, Quota>()

  function count({ quota }: Hold, outcome: (typeof fates)[number], amount: number): void {
    const { name, unit } = quota
    if (followed.get(name)?.unit === unit) units.inc({ quota: name, unit, outcome }, amount)
  }

  return {
    follow(quotas) {
      const next = new Map(quotas.map((quota) => [quota.name, quota]))
      for (const { name, unit } of followed.values()) {
        if (next.get(name)?.unit === unit) continue
        for (const outcome of fates) units.remove({ quota: name, unit, outcome })
      }
      for (const { name, unit } of next.values()) {
        for (const outcome of fates) units.inc({ quota: name, unit, outcome }, 0)
      }
      followed = next
    },
    reserved(holds) {
      for (const hold of holds) count(hold, 'reserved', hold.amount)
    },
    ended({ reservation, outcome, charges }) {
      for (const [index, hold] of reservation.holds.entries()) {
        const { actual, debt } = charges[index] ?? { actual: 0, debt: 0 }
        const used = outcome === 'settled' || outcome === 'estimated'
        count(hold, outcome, used ? actual : hold.amount)
        if (outcome !== 'unsettled') count(hold, 'refunded', Math.max(0, hold.amount - actual))
        count(hold, 'debt', debt)
      }
    },
  }
}

export interface Accounting {
  ended(ended: Pick<Ended<unknown>, 'outcome' | 'late'>): void
}

/** How much of what was admitted is known exactly. */
export function createAccounting(registry: Registry): Accounting {
  const registers = [registry]
  const endings = new Counter({
    name: 'tollgate_reservations_ended_total',
    help: 'Reservations that ended, by how; one that was unsettled and whose report came later counts in both.',
    labelNames: ['outcome'] as const,
    registers,
  })
  const completeness = new Gauge({
    name: 'tollgate_accounting_completeness_ratio',
    help: 'Of all reservations that ended since the start, the part that was settled exactly; 1 before the first.',
    registers,
  })
  let all = 0
  let exact = 0
  for (const outcome of ['settled', 'estimated', 'released', 'unsettled'] as const) {
    endings.inc({ outcome }, 0)
  }
  completeness.set(1)

  return {
    ended({ outcome, late }) {
      endings.inc({ outcome })
      // A late end is the same reservation once more.
      if (!late) all += 1
      if (outcome === 'settled') exact += 1
      // Another process may have seen the lease run out.
      completeness.set(Math.min(1, exact / Math.max(1, all)))
    },
  }
}
