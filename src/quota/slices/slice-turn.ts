import type { Carriers } from '../carriers.js'
import type { Hold, Reservation, ReserveRequest } from '../ledger.js'
import type { Window } from '../quota.js'
import {
  SLICES_DUE,
  storedIdempotencyKey,
  storedLeases,
  storedPartition,
} from '../redis/stored-keys.js'
import { storedReservation, storedSlices, storedTurn } from '../redis/stored-keys.js'
import type { Figures, UncoveredReply } from '../redis/replies.js'
import { quotaText } from '../redis/reserve.js'
import type { Slice, Taking } from './slices.js'
import { spell } from '../windows/windows.js'

/** A request that was admitted here and that the store does not know yet. */
export interface Pending<Context> {
  readonly request: ReserveRequest<Context>
  readonly reservation: Reservation<Context>
  /** Of each hold. */
  readonly slices: readonly Slice[]
  /** As the store is told; they change no more once it is sent. */
  carriers: Carriers
  /**
   * It is in a turn that the store was asked for: what it became, and whether its carriers are known there, is for the
   * answer to say. Until then nothing is concluded from what comes meanwhile.
   */
  sent: boolean
  /** The carriers that were given up since. They are taken away when the answer is there. */
  readonly givenUp: Set<string>
}

/** What became of a pending request. `known`: another reservation has its key, to which its id leads from now on. */
export type Adoption = 'adopted' | 'abandoned' | 'known'

/** All that one script call tells of. */
export interface Turn<Context> extends Parts<Context> {
  /** Of this process's turns, so that each takes effect once. */
  readonly number: number
}

/** What a turn tells of. */
export interface Parts<Context> {
  readonly adopted: readonly Pending<Context>[]
  readonly returned: readonly (readonly [Slice, number])[]
  readonly taken: readonly { readonly taking: Taking; readonly id: string }[]
  readonly sweep: boolean
}

/** The first half of a turn and the other; undefined: it is one thing only. */
export function halve<Context>(
  parts: Parts<Context>,
): readonly [Parts<Context>, Parts<Context>] | undefined {
  const { adopted, returned, taken, sweep } = parts
  const things = adopted.length + returned.length + taken.length
  if (things + (sweep ? 1 : 0) < 2) return undefined
  const middle = Math.ceil(things / 2)
  const cut = (from: number, to: number, withSweep: boolean): Parts<Context> => {
    const within = <Thing>(list: readonly Thing[], before: number): readonly Thing[] =>
      list.slice(Math.max(0, from - before), Math.max(0, to - before))
    return {
      adopted: within(adopted, 0),
      returned: within(returned, adopted.length),
      taken: within(taken, adopted.length + returned.length),
      sweep: withSweep,
    }
  }
  return [cut(0, middle, false), cut(middle, things, sweep)]
}

/** Figures and moment of the partition; what was taken of it, until when it may be used, and where it counts. */
export type TakenReply =
  | readonly [figures: Figures, nowMs: string]
  | readonly [
      figures: Figures,
      nowMs: string,
      amount: string,
      endMs: string,
      generation: string,
      cell: string,
    ]

export type TurnReply =
  | readonly [
      kind: 'turned',
      redisMs: number,
      adopted: readonly Adoption[],
      taken: readonly TakenReply[],
    ]
  | UncoveredReply
  | readonly [kind: 'outdated', redisMs: number]

/** What the script is called with. */
export interface TurnCall {
  readonly keys: readonly string[]
  readonly call: object
  readonly texts: readonly string[]
  /** Those of which the calendars have to be brought along. */
  readonly windows: readonly Window[]
}

/** @param more what every turn of the process says */
export function spellTurn<Context>(
  owner: string,
  { number, adopted, returned, taken, sweep }: Turn<Context>,
  more: object,
): TurnCall {
  const partitions = new Map<string, number>()
  const partitionKeys: string[] = []
  const names: Set<string>[] = []
  const windows: Window[] = []
  /** The number of the partition: Lua counts from 1. */
  const at = (hold: Hold): number => {
    const known = partitions.get(hold.partitionKey)
    if (known !== undefined) return known
    partitionKeys.push(storedPartition(hold), storedSlices(hold))
    names.push(new Set())
    partitions.set(hold.partitionKey, names.length)
    return names.length
  }
  /** As `at`, of a hold whose own window the script looks through. */
  const see = (hold: Hold): number => {
    const index = at(hold)
    windows.push(hold.quota.window)
    names[index - 1]?.add(spell(hold.quota.window))
    return index
  }

  const reservationKeys: string[] = []
  const texts: string[] = []
  const call = {
    ...more,
    turn: number,
    sweep,
    adopted: adopted.map(({ request, reservation, carriers, slices: drawn }) => {
      const { id, idempotencyKey, holds, context, leaseMs } = request
      reservationKeys.push(storedReservation(id), storedIdempotencyKey(idempotencyKey))
      texts.push(JSON.stringify(context), `[${holds.map(quotaText).join()}]`)
      return {
        id,
        leaseMs,
        carriers,
        admittedMs: reservation.admittedAtEpochMs,
        holds: holds.map((hold, index) => {
          const { quota, amount } = hold
          const { id: slice, generation, cell } = drawn[index] as Slice
          const window = spell(quota.window)
          const { limit, unit } = quota
          return { at: see(hold), slice, amount, limit, window, unit, generation, cell }
        }),
      }
    }),
    returned: returned.map(([{ id: slice, hold }, amount]) => ({ at: at(hold), slice, amount })),
    taken: taken.map(({ taking: { hold, amount, least, leaseMs }, id: slice }) => {
      const { limit, window } = hold.quota
      return { at: see(hold), slice, amount, least, limit, window: spell(window), leaseMs }
    }),
  }
  return {
    keys: [storedTurn(owner), storedLeases(), SLICES_DUE, ...partitionKeys, ...reservationKeys],
    call: { ...call, windows: names.map((each) => [...each]) },
    texts,
    windows,
  }
}
