import type { Hold } from '../ledger.js'
import type { Quota } from '../quota.js'

/** A quota is never changed, so it is spelled once. */
const quotaTexts = new WeakMap<Quota, string>()

/** As a reservation is kept with it. */
export function quotaText({ quota }: Hold): string {
  let text = quotaTexts.get(quota)
  if (text === undefined) {
    text = JSON.stringify(quota)
    quotaTexts.set(quota, text)
  }
  return text
}
