import type { Carriers } from '../carriers.js'
import type { Hold, Reservation, ReserveRequest } from '../ledger.js'
import type { Window } from '../quota.js'
import type { Buckets, Part } from '../redis/buckets.js'
import { elsewhereOf } from '../redis/elsewhere.js'
import {
  storedDueSlices,
  storedIdempotencyKey,
  storedLeases,
  storedPartition,
} from '../redis/stored-keys.js'
import { storedReservation, storedSlices, storedTurn } from '../redis/stored-keys.js'
import { stateFrom } from '../redis/replies.js'
import type { Figures, UncoveredReply } from '../redis/replies.js'
import { quotaText } from '../redis/quota-text.js'
import type { Slice, Taking } from './slices.js'
import type { Timeline } from '../windows/timeline.js'
import { createWindowState } from '../windows/window-state.js'
import { spell } from '../windows/windows.js'

/** A request that was admitted here and that the store does not know yet. */
export interface Pending<Context> {
  readonly request: ReserveRequest<Context>
  readonly reservation: Reservation<Context>
  /** Of each hold. */
  readonly slices: readonly Slice[]
  /** What of it each bucket is told. The home first. */
  readonly parts: readonly [PendingPart, ...PendingPart[]]
  /** As the store is told; they change no more once it is sent. */
  carriers: Carriers
  /**
   * It is in a turn that the store was asked for: what it became, and whether its carriers are known there, is for the
   * answer to say. Until then nothing is concluded from what comes meanwhile.
   */
  sent: boolean
  /** The carriers that were given up since. They are taken away when the answer is there. */
  readonly givenUp: Set<string>
  /** Its home said that another reservation has its key: by bucket, what that is there. */
  moved?: ReadonlyMap<number, Moved>
}

/** The part of another reservation that the answers of a pending one carry from now on. */
export interface Moved {
  /** Its id; undefined: it has none there. */
  readonly to: string | undefined
  /** Before that moment, by the clock of the node, what is not there may have its place taken by this one's. */
  readonly beforeMs?: number | undefined
  /** The other is over, and forgotten: what is not there has been, so this one's is given back. */
  readonly over?: true
}

/** The id of the reservation that has its key, where that is known. */
function otherOf({ moved }: Pending<unknown>): string | undefined {
  return [...(moved?.values() ?? [])].find(({ to }) => to !== undefined)?.to
}

export interface PendingPart extends Part {
  /** By the clock of the node that has the bucket. */
  readonly admittedMs: number
}

export function partIn({ parts }: Pending<unknown>, bucket: number): PendingPart {
  return parts.find((part) => part.bucket === bucket) ?? { bucket, indices: [], admittedMs: 0 }
}

/**
 * What became of a part of a pending request. `known`: another reservation has its key, to which its id leads from now
 * on; with that one's id and the stored partitions that it has elsewhere, if it is live. `late`: nothing was changed, since
 * it came after the moment before which it could. `ended`: that one is not live any more, and its home remembers it.
 */
export type Adopted =
  | 'adopted'
  | 'abandoned'
  | 'moved'
  | 'late'
  | 'ended'
  | readonly [kind: 'known', id?: string, ...elsewhere: string[]]

/** All that one script call tells of. */
export interface Turn<Context> extends Told<Context> {
  /** Of this process's turns in the bucket, so that each takes effect once. */
  readonly number: number
  /** Redis, which is full, is asked for it all the same. */
  readonly whenFull?: true
}

/** What a turn tells of. */
export interface Told<Context> {
  readonly adopted: readonly Pending<Context>[]
  readonly returned: readonly (readonly [Slice, number])[]
  readonly taken: readonly { readonly taking: Taking; readonly id: string }[]
}

/** The first half of what a turn tells and the other; undefined: it is one thing only. */
export function halve<Context>(
  told: Told<Context>,
): readonly [Told<Context>, Told<Context>] | undefined {
  const { adopted, returned, taken } = told
  const things = adopted.length + returned.length + taken.length
  if (things < 2) return undefined
  const middle = Math.ceil(things / 2)
  const cut = (from: number, to: number): Told<Context> => {
    const within = <Thing>(list: readonly Thing[], before: number): readonly Thing[] =>
      list.slice(Math.max(0, from - before), Math.max(0, to - before))
    return {
      adopted: within(adopted, 0),
      returned: within(returned, adopted.length),
      taken: within(taken, adopted.length + returned.length),
    }
  }
  return [cut(0, middle), cut(middle, things)]
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
      adopted: readonly Adopted[],
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
  buckets: Buckets,
  bucket: number,
  { number, adopted, returned, taken }: Turn<Context>,
  more: object,
): TurnCall {
  const tag = buckets.tagOf(bucket)
  const partitions = new Map<string, number>()
  const partitionKeys: string[] = []
  const names: Set<string>[] = []
  const windows: Window[] = []
  /** The number of the partition: Lua counts from 1. */
  const at = (hold: Hold): number => {
    const known = partitions.get(hold.partitionKey)
    if (known !== undefined) return known
    partitionKeys.push(storedPartition(hold, tag), storedSlices(hold, tag))
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
    adopted: adopted.map((pending) => {
      const { indices, admittedMs } = partIn(pending, bucket)
      const { request, carriers, slices: drawn, parts, moved } = pending
      const { id, idempotencyKey, holds, context, leaseMs } = request
      const [home] = parts
      const isHome = bucket === home.bucket
      const { to, beforeMs, over } = moved?.get(bucket) ?? {}
      const isMoved = moved !== undefined && !isHome
      const other = isMoved ? (to ?? id) : otherOf(pending)
      reservationKeys.push(
        storedReservation(id, tag),
        other === undefined
          ? storedIdempotencyKey(idempotencyKey, tag)
          : storedReservation(other, tag),
      )
      texts.push(
        isHome ? JSON.stringify(context) : '',
        isHome ? `[${holds.map(quotaText).join()}]` : '',
      )
      return {
        id,
        leaseMs,
        carriers,
        admittedMs,
        ...(isHome ? {} : { part: true }),
        ...(isHome && parts.length > 1 ? { elsewhere: elsewhereOf(buckets, holds, home) } : {}),
        ...(isMoved ? { moved: true, to, beforeMs, over } : {}),
        ...(moved !== undefined && isHome ? { again: true } : {}),
        holds: indices.map((index) => {
          const hold = holds[index] as Hold
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
    keys: [
      storedTurn(owner, tag),
      storedLeases(tag),
      storedDueSlices(tag),
      ...partitionKeys,
      ...reservationKeys,
    ],
    call: { ...call, windows: names.map((each) => [...each]) },
    texts,
    windows,
  }
}

/** For how much longer a slice may be over in Redis than here, by drifting clocks. */
const DRIFT_MARGIN_MS = 2

/** How a slice was asked for. */
export interface Asked {
  readonly id: string
  /** A moment before the answer was made, on the scale of slices. */
  readonly sentTick: number
  readonly lifeMs: number
  readonly moments: 'redis' | 'given'
  readonly timeline: Timeline
}

/** What was taken; undefined: there was none to give. @param redisMs when that was answered */
export function sliceFrom(
  { hold }: Taking,
  told: TakenReply | undefined,
  redisMs: number,
  { id, sentTick, lifeMs, moments, timeline }: Asked,
): Slice | undefined {
  if (told?.[2] === undefined) return undefined
  const [figures, now, amount, end, generation, cell] = told as Extract<TakenReply, { 5: string }>
  // Redis shows at least its moment of the answer, which was made after it was asked. By that it is at most so
  // long until the slice is over; never longer than slices last, where Redis's clock was set back.
  const leftMs = Math.min(Number(end) - redisMs, lifeMs)
  const overAtTick = moments === 'given' ? Number(end) : sentTick + leftMs - 1 - DRIFT_MARGIN_MS
  return {
    id,
    hold,
    timeline,
    amount: Number(amount),
    startMs: Number(now),
    overAtTick,
    lastsTicks: overAtTick - sentTick,
    generation: Number(generation),
    cell: Number(cell),
    state: stateFrom(figures, hold, timeline) ?? createWindowState('', timeline, 0),
    room: Number(amount),
  }
}
