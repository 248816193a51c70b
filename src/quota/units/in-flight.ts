import type { QuotaUnit } from './quota-unit.js'

/** Requests under way at one moment; its window is `open`, so the end frees it, whatever it came to. */
export const inFlight: QuotaUnit = {
  amountToReserve: () => 1,
  amountAtEnd: (end) => (end.kind === 'released' ? 0 : 1),
}
