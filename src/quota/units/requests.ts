import type { QuotaUnit } from './quota-unit.js'

/** Requests that reached an engine: one that did not is given back. */
export const requests: QuotaUnit = {
  amountToReserve: () => 1,
  amountAtEnd: (end) => (end.kind === 'released' ? 0 : 1),
}
