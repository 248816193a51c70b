import type { KeyPath, SayFault } from './faults.js'
import { wrong } from './partly.js'
import type { Wrong } from './partly.js'

/** The first entry keeps the name; every later one is the fault. */
export function refuseRepeats(
  names: readonly { readonly at: KeyPath; readonly name: string | Wrong | undefined }[],
  what: string,
  fault: SayFault,
): void {
  const seen = new Set<string>()
  for (const { at, name } of names) {
    if (name === wrong || name === undefined) continue
    if (seen.has(name)) fault(at, `${what} that no earlier entry has`)
    seen.add(name)
  }
}
