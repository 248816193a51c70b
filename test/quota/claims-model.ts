import type { Census, Said } from '../../src/quota/failover/processes.js'

// What a store makes of what its processes say: `lua/processes.lua` said again, so that a test can be any moment and
// any store. `redis-processes.property.test.ts` holds the two together.

const SEEN_MS = 60_000
const SETTLING_MS = 10_000
const STEP_MS = 10_000
const WHOLE = 144_403_552_893_600
const ROUNDED = 1 - 1e-12
const MAX_DIVISOR = 1_000_000
const MAX_ENTRIES = 1000
const MAX_GONE = 64

/** What one of two processes is answered. */
export const halfOfAll: Census = {
  ...{ atMs: 1, bornMs: 1, version: 1, processes: 2, table: undefined },
  claims: [2, 2, 2, 2, 2, 2],
}

interface Entry {
  claims: number[]
  used: number[]
  usedMs: number
  /** When it was found gone; 0: it is there, or has said that it leaves. */
  goneMs: number
}

export interface ClaimsStore {
  census(process: string, said: Said, nowMs: number): Census
  /** It starts anew, with nothing. */
  lose(): void
}

const larger = (one: number, other: number): number =>
  one === 0 || other === 0 ? Math.max(one, other) : Math.min(one, other)

export function createClaimsStore(): ClaimsStore {
  let seen = new Map<string, number>()
  let all:
    { bornMs: number; settlingMs: number; version: number; entries: Map<string, Entry> } | undefined

  return {
    lose() {
      seen = new Map()
      all = undefined
    },

    census(process, said, nowMs) {
      const { horizonsMs } = said
      let isChanged = all === undefined
      all ??= { bornMs: nowMs, settlingMs: nowMs, version: 0, entries: new Map() }
      const store = all
      const { entries } = store
      const before = spell(entries)

      const usedAt = (entry: Entry, horizon: number): number =>
        nowMs - entry.usedMs <= (horizonsMs[horizon] ?? 0) ? (entry.used[horizon] ?? 0) : 0
      const use = (entry: Entry, divisors: readonly number[], atMs: number): void => {
        entry.used = horizonsMs.map((_, horizon) =>
          larger(usedAt(entry, horizon), divisors[horizon] ?? 0),
        )
        entry.usedMs = atMs
      }
      const bound = (entry: Entry, horizon: number): number => {
        const isClaimed = entry.goneMs === 0 || nowMs - entry.goneMs <= (horizonsMs[horizon] ?? 0)
        return larger(isClaimed ? (entry.claims[horizon] ?? 0) : 0, usedAt(entry, horizon))
      }
      const isGone = ({ claims, goneMs }: Entry): boolean =>
        goneMs > 0 || claims.every((claim) => claim === 0)
      const matters = (entry: Entry): boolean =>
        horizonsMs.some((_, horizon) => bound(entry, horizon) > 0)
      let gone = [...entries.values()].filter(isGone).length
      let count = entries.size
      const nothing = (): Entry => ({
        claims: horizonsMs.map(() => 0),
        used: horizonsMs.map(() => 0),
        usedMs: 0,
        goneMs: 0,
      })
      const leave = (name: string, entry: Entry): void => {
        if (!matters(entry)) {
          entries.delete(name)
        } else if (gone >= MAX_GONE) {
          const one = entries.get('*') ?? nothing()
          one.used = horizonsMs.map((_, horizon) =>
            addUp(bound(one, horizon), bound(entry, horizon)),
          )
          one.usedMs = Math.max(one.usedMs, entry.usedMs, entry.goneMs)
          entries.set('*', one)
          entries.delete(name)
        } else {
          gone += 1
        }
      }

      for (const [name, atMs] of seen) {
        if (atMs >= nowMs - SEEN_MS) continue
        seen.delete(name)
        const entry = entries.get(name)
        if (entry === undefined || name === process) continue
        entry.goneMs = nowMs
        isChanged = true
        leave(name, entry)
      }

      if (said.bornMs > 0 && said.bornMs !== store.bornMs) {
        store.settlingMs = nowMs
        isChanged = true
      }
      if (said.known !== undefined) {
        for (const [name, entry] of read(said.known.entries)) {
          if (entries.has(name) || count >= MAX_ENTRIES) continue
          const laterMs = nowMs - said.known.atMs
          entry.usedMs = Math.min(nowMs, entry.usedMs + laterMs)
          if (entry.goneMs > 0) entry.goneMs = Math.min(nowMs, entry.goneMs + laterMs)
          entries.set(name, entry)
          isChanged = true
          count += 1
          if (!isGone(entry) && !seen.has(name)) seen.set(name, nowMs)
        }
      }

      const own = entries.get(process) ?? nothing()
      if (said.used !== undefined) {
        use(own, said.used.divisors, Math.ceil((nowMs - said.used.agoMs) / STEP_MS) * STEP_MS)
      }
      if (said.leaving) seen.delete(process)
      else seen.set(process, nowMs)

      const granted = (claim: number, horizon: number): number => {
        let least = seen.size
        let taken = 0
        for (const [name, entry] of entries) {
          const divisor = bound(entry, horizon)
          if (name === process || divisor === 0) continue
          taken += Math.ceil(WHOLE / divisor)
          if (isGone(entry)) least += 1
        }
        least = Math.max(least, said.atLeast)
        if (nowMs - store.settlingMs < SETTLING_MS) return claim > 0 ? Math.max(claim, least) : 0
        const room = WHOLE - taken
        const divisor = room > 0 ? Math.max(least, Math.ceil(WHOLE / room)) : 0
        return divisor > MAX_DIVISOR ? 0 : divisor
      }
      const mayClaim = !said.leaving && count <= MAX_ENTRIES
      const claims = said.claims.map((claim, horizon) => (mayClaim ? granted(claim, horizon) : 0))
      own.claims = claims.map((claim, horizon) =>
        said.leaving ? 0 : larger(said.claims[horizon] ?? 0, claim),
      )
      own.goneMs = 0
      entries.set(process, own)
      if (said.leaving || !matters(own)) leave(process, own)

      if (isChanged || spell(entries) !== before) {
        for (const [name, entry] of entries) {
          if (isGone(entry) && !matters(entry)) entries.delete(name)
        }
        store.version = Math.max(nowMs, store.version + 1)
      }
      const { version, bornMs } = store
      const table = said.version === version ? undefined : spell(entries)
      return { atMs: nowMs, processes: seen.size, claims, bornMs, version, table }
    },
  }
}

function addUp(one: number, other: number): number {
  if (one === 0 || other === 0) return Math.max(one, other)
  // As the script writes it.
  return Number((((one * other) / (one + other)) * ROUNDED).toPrecision(14))
}

function spell(entries: ReadonlyMap<string, Entry>): string {
  const told = [...entries].map(([name, { claims, used, usedMs, goneMs }]) => [
    name,
    [...claims, ...used, usedMs, goneMs],
  ])
  return JSON.stringify({ entries: Object.fromEntries(told) as object })
}

function read(text: string): [string, Entry][] {
  const { entries } = JSON.parse(text) as { entries: Record<string, number[]> }
  return Object.entries(entries).map(([name, numbers]) => {
    const horizons = (numbers.length - 2) / 2
    const [claims, used] = [numbers.slice(0, horizons), numbers.slice(horizons, 2 * horizons)]
    const [usedMs = 0, goneMs = 0] = numbers.slice(2 * horizons)
    return [name, { claims, used, usedMs, goneMs }]
  })
}
