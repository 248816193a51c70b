import { partIn } from './slice-turn.js'
import type { Pending, Told } from './slice-turn.js'
import type { Slice, Taking } from './slices.js'

/** What a bucket of the store is to be told, in the order in which it came, by a number that grows. */
export interface ToTell<Context> {
  adopt(pending: Pending<Context>): void
  withdraw(pending: Pending<Context>): void
  giveBack(slice: Slice, amount: number): void
  take(taking: Taking): void
  /** As much of it as one turn does; undefined: there is nothing. */
  next(): Told<Context> | undefined
  /** The number of what came last. */
  last(): number
  /** The number of the oldest, or of the oldest beside what waits for its adoption. */
  oldest(what: 'all' | 'slices'): number
  isReturning(): boolean
  /** How many turns what is taken and returned is for. */
  turnsOfSlices(): number
}

/** So much one turn does: some 1 ms of Redis's time. */
const MAX_ADOPTED = 32
const MAX_HOLDS = 96
const MAX_RETURNED = 16
const MAX_TAKEN = 16

/** @param owner names the process, and with a number each slice that it asks for */
export function createToTell<Context>(owner: string, bucket: number): ToTell<Context> {
  const pendings = new Map<Pending<Context>, number>()
  const returns = new Map<Slice, { amount: number; readonly asked: number }>()
  const takings = new Map<Taking, number>()
  let asked = 0
  let slices = 0

  function firstReturn(): number {
    for (const { asked: number } of returns.values()) return number
    return Infinity
  }

  return {
    adopt(pending) {
      pendings.set(pending, (asked += 1))
    },
    withdraw(pending) {
      pendings.delete(pending)
    },
    giveBack(slice, amount) {
      const known = returns.get(slice)
      if (known === undefined) returns.set(slice, { amount, asked: (asked += 1) })
      else known.amount += amount
    },
    take(taking) {
      takings.set(taking, (asked += 1))
    },

    next() {
      const adopted: Pending<Context>[] = []
      let holds = 0
      for (const pending of pendings.keys()) {
        holds += partIn(pending, bucket).indices.length
        if (adopted.length === MAX_ADOPTED || (holds > MAX_HOLDS && adopted.length > 0)) break
        adopted.push(pending)
      }
      const returned: (readonly [Slice, number])[] = []
      for (const [slice, { amount }] of returns) {
        if (returned.length === MAX_RETURNED) break
        returned.push([slice, amount])
      }
      const taken = [...takings.keys()].slice(0, MAX_TAKEN).map((taking) => {
        return { taking, id: `${owner} ${String((slices += 1))}` }
      })
      if (adopted.length + returned.length + taken.length === 0) return undefined

      for (const pending of adopted) {
        pendings.delete(pending)
        pending.sent = true
      }
      for (const [slice] of returned) returns.delete(slice)
      for (const { taking } of taken) takings.delete(taking)
      return { adopted, returned, taken }
    },

    last: () => asked,
    oldest(what) {
      const oldest = Math.min(firstOf(takings), firstReturn())
      return what === 'slices' ? oldest : Math.min(oldest, firstOf(pendings))
    },
    isReturning: () => returns.size > 0,
    turnsOfSlices: () => Math.ceil(Math.max(takings.size / MAX_TAKEN, returns.size / MAX_RETURNED)),
  }
}

/** The number of the oldest. */
function firstOf(asked: ReadonlyMap<unknown, number>): number {
  for (const number of asked.values()) return number
  return Infinity
}
