import { UndecidedError } from '../../errors.js'
import type { Hold, Reservation } from '../ledger.js'
import type { Quota } from '../quota.js'
import { partitionOf } from './stored-keys.js'
import type { Timeline } from '../windows/timeline.js'
import { createWindowState } from '../windows/window-state.js'
import type { WindowState } from '../windows/window-state.js'

/**
 * Where a partition stands: spent, reserved, debt (amount, carry, since) and cells, with spaces between. Empty:
 * never used. As text, like every amount: the client reads integers near 2^53 off by one.
 */
export type Figures = string

/** What a reservation holds in another bucket than its home: its position among all holds, key and amount. */
export type Elsewhere = readonly [index: number, key: string, amount: string]

/** A reservation as the store keeps it: id, admission, context, quotas, key and amount of each hold, those elsewhere. */
export type Told = readonly [
  id: string,
  admittedMs: number,
  context: string,
  quotas: string,
  holds: readonly (readonly [key: string, amount: string])[],
  elsewhere: readonly Elsewhere[],
]

export type HeldReply = readonly [
  kind: 'held',
  redisMs: number,
  nowMs: number,
  figures: readonly Figures[],
  shadowShort: readonly number[],
  /** An earlier call holds it. */
  told?: Told,
]

/** Where the partitions of a call stand, in the order of its holds. */
type FiguresReply<Kind extends string> = readonly [
  kind: Kind,
  redisMs: number,
  nowMs: number,
  figures: readonly Figures[],
]

export type ShortReply = FiguresReply<'short'>

export type EndedReply = readonly [
  kind: 'ended',
  redisMs: number,
  nowMs: number,
  late: 0 | 1,
  figures: readonly Figures[],
]

export type ExpiredReply = readonly [
  kind: 'expired',
  redisMs: number,
  ended: readonly Told[],
  more: 0 | 1,
  uncovered?: UncoveredReply,
]

export type JoinedReply = readonly [
  kind: 'joined',
  redisMs: number,
  nowMs: number,
  figures: readonly Figures[],
  shadowShort: readonly number[],
]

type FoundReply = readonly [kind: 'found', redisMs: number, told: Told]

export type UncoveredReply = readonly [
  kind: 'uncovered',
  redisMs: number,
  nowMs: number,
  window: string,
  fromMs: number,
]

/** What the scripts of `lua/` answer, apart from `late`, which the store keeps to itself. */
export type LedgerReply =
  | HeldReply
  | ShortReply
  | EndedReply
  | ExpiredReply
  | FoundReply
  | JoinedReply
  | FiguresReply<'balances'>
  | UncoveredReply
  | readonly [
      kind: 'in_use' | 'abandoned' | 'unknown' | 'coming' | 'left' | 'kept',
      redisMs: number,
    ]

/** The state as the memory ledger would have it, so that waits and balances are computed by the same code. */
export function stateFrom(
  figures: Figures,
  { quota, partitionKey }: Hold,
  timeline: Timeline,
): WindowState | undefined {
  if (figures === '') return undefined
  const [spent, reserved, amount, carry, sinceEpochMs, ...cells] = figures
    .split(' ')
    .map(Number) as [number, number, number, number, number, ...number[]]
  return {
    ...createWindowState(partitionKey, timeline, quota.limit),
    cells,
    spent,
    reserved,
    debt: amount === 0 ? undefined : { amount, carry, sinceEpochMs },
  }
}

/** Quotas of reservations that another process made, by their spelling; as many as policies differ. */
const MAX_KEPT_QUOTAS = 1024

export interface ReservationReader<Context> {
  /** @throws UndecidedError it is not what any release has stored; nothing of it is said */
  read(told: Told): Reservation<Context>
}

export function createReservationReader<Context>(): ReservationReader<Context> {
  const kept = new Map<string, readonly Quota[]>()

  function quotasFrom(text: string): readonly Quota[] {
    let quotas = kept.get(text)
    if (quotas === undefined) {
      quotas = JSON.parse(text) as readonly Quota[]
      if (kept.size >= MAX_KEPT_QUOTAS) kept.clear()
      kept.set(text, quotas)
    }
    return quotas
  }

  return {
    read([id, admittedAtEpochMs, context, quotas, holds, elsewhere]) {
      try {
        const byHold = quotasFrom(quotas)
        const all = [...holds]
        for (const [index, key, amount] of elsewhere) all.splice(index, 0, [key, amount])
        return {
          id,
          context: JSON.parse(context) as Context,
          holds: all.map(([key, amount], index) => {
            const quota = byHold[index]
            if (quota === undefined) throw new RangeError('a hold without its quota')
            return { quota, partitionKey: partitionOf(key), amount: Number(amount) }
          }),
          admittedAtEpochMs,
        }
      } catch {
        // Without its cause: the text of an error of JSON repeats some of what was read.
        throw new UndecidedError('ledger', 'what is stored of a reservation cannot be read')
      }
    },
  }
}
