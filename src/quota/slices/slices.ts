import { balanceOf } from '../balance.js'
import type { Balance, Hold } from '../ledger.js'
import { BELIEVED_MS } from '../redis/last-figures.js'
import { saturated } from '../../units.js'
import { askedBefore } from '../request.js'
import type { Timeline } from '../windows/timeline.js'
import { advance } from '../windows/window-state.js'
import type { WindowState } from '../windows/window-state.js'

/** Capacity of one partition that this process has reserved ahead of requests. */
export interface Slice {
  readonly id: string
  /** As it was asked for. */
  readonly hold: Hold
  readonly timeline: Timeline
  readonly amount: number
  readonly startMs: number
  /** From when on nothing may be admitted from it, on the process's own scale (`tick`). */
  readonly overAtTick: number
  readonly lastsTicks: number
  /** Where the store placed it. */
  readonly generation: number
  readonly cell: number
  /** The partition when the slice was taken; `reserved` follows what is admitted from it here. */
  readonly state: WindowState
  room: number
}

/** What a process wants of a partition. The quota and window are those of the hold. */
export interface Taking {
  readonly hold: Hold
  readonly amount: number
  readonly least: number
  readonly leaseMs: number
}

/**
 * The slices of this process: at most one for each partition. Plain bookkeeping: what has to be told to the store
 * goes through `onBack` and is returned by `wish`.
 */
export interface Slices {
  /** Takes what is held out of slices that have room for all of it, one per hold; undefined: nothing was taken. */
  draw(holds: readonly Hold[], tick: number): readonly Slice[] | undefined
  /** Puts an amount back that was drawn. */
  undraw(slice: Slice, amount: number): void
  /**
   * What to take for a request that could not be drawn. Undefined: slices are no help, since one of its partitions
   * is not asked for often, or has none to give. Empty: it is all being taken already.
   */
  wish(holds: readonly Hold[], leaseMs: number, tick: number): readonly Taking[] | undefined
  /** What to take before a slice that was just drawn from is used up or over. */
  refill(hold: Hold, leaseMs: number, tick: number): Taking | undefined
  /** The answer to a taking; undefined: there was none to give, or nobody answered. */
  taken({ hold }: Taking, slice: Slice | undefined, tick: number): void
  /** Where the partition stands as far as is known here; for a hold that was drawn or has room. */
  balance(hold: Hold, slice: Slice, nowMs: number): Balance
  /** The slice that has room for a unit of the hold, if there is one. */
  withRoom(hold: Hold, tick: number): Slice | undefined
  /** Gives back what this process has of the partitions. True if it had any. */
  giveBack(holds: readonly Hold[], tick: number): boolean
  /** How often something was given back. */
  backs(): number
  /** The store told where the partitions stand, after the first `backs` that were given back. */
  told(partitions: readonly Pick<Hold, 'partitionKey'>[], backs: number): void
  /** Something of one of the partitions came back lately, and the store has not told since where it stands. */
  areBehind(holds: readonly Hold[], tick: number): boolean
  /** A slice of one of the partitions is on its way here. */
  areTaken(holds: readonly Hold[]): boolean
  /** Takes none of the partitions for a while. True if one is being taken. */
  pause(holds: readonly Hold[], tick: number): boolean
  /** Gives back every slice that is over, or all of them, and forgets partitions that are not asked for. */
  tidy(tick: number, which: 'over' | 'all'): void
}

export interface SlicesOptions {
  readonly timelineOf: (hold: Hold) => Timeline
  /** The amount of the slice is not wanted any more. */
  readonly onBack: (slice: Slice, amount: number) => void
  /** How recently a partition must have been asked for, for a slice to be worth it. */
  readonly warmMs: number
  /** A slice is taken for at least so many requests as the one that asks. */
  readonly leastRequests: number
}

/** For so many requests the first slice of a partition is meant. */
const FIRST_REQUESTS = 16
/** For how long none is asked for where there was none to give. */
const NONE_MS = 250
const MAX_PARTITIONS = 10_000

interface Partition {
  slice: Slice | undefined
  taking: boolean
  askedAtTick: number
  noneUntilTick: number
  /** What was admitted from the last slice. */
  used: number
  /** The last that was given back of it, where the store may not have told since where it stands. */
  back: { readonly number: number; readonly atTick: number } | undefined
}

export function createSlices(options: SlicesOptions): Slices {
  const { timelineOf, onBack, warmMs, leastRequests } = options
  const partitions = new Map<string, Partition>()
  let backs = 0

  function drop(partition: Partition, tick: number): boolean {
    const { slice } = partition
    if (slice === undefined) return false
    partition.slice = undefined
    partition.used = slice.amount - slice.room
    const { room } = slice
    slice.room = 0
    if (room > 0) {
      partition.back = { number: (backs += 1), atTick: tick }
      onBack(slice, room)
    }
    return room > 0
  }

  /** The slice that a hold may be admitted from. Another limit or window is another policy: it takes its own. */
  function usable(hold: Hold, tick: number): Slice | undefined {
    const partition = partitions.get(hold.partitionKey)
    const slice = partition?.slice
    if (partition === undefined || slice === undefined) return undefined
    if (
      tick < slice.overAtTick &&
      slice.hold.quota.limit === hold.quota.limit &&
      slice.timeline === timelineOf(hold)
    ) {
      return slice
    }
    drop(partition, tick)
    return undefined
  }

  function seen(hold: Hold, tick: number): { partition: Partition; warm: boolean } | undefined {
    let partition = partitions.get(hold.partitionKey)
    if (partition === undefined) {
      if (partitions.size >= MAX_PARTITIONS) return undefined
      const never = { askedAtTick: -Infinity, noneUntilTick: -Infinity, used: 0, back: undefined }
      partition = { slice: undefined, taking: false, ...never }
      partitions.set(hold.partitionKey, partition)
    }
    const warm = tick - partition.askedAtTick <= warmMs
    partition.askedAtTick = tick
    return { partition, warm }
  }

  function takingFor(hold: Hold, amount: number, leaseMs: number, used: number): Taking {
    const least = Math.max(1, leastRequests * amount)
    const wanted = Math.max(least, FIRST_REQUESTS * amount, 4 * used)
    return { hold, amount: saturated(wanted), least, leaseMs }
  }

  return {
    draw(holds, tick) {
      const slices: Slice[] = []
      for (const [index, hold] of holds.entries()) {
        const slice = usable(hold, tick)
        if (slice === undefined || slice.room < hold.amount + askedBefore(holds, index)) {
          return undefined
        }
        slices.push(slice)
      }
      for (const [index, slice] of slices.entries()) {
        slice.room -= (holds[index] as Hold).amount
        const partition = partitions.get(slice.hold.partitionKey)
        if (partition !== undefined) partition.askedAtTick = tick
      }
      return slices
    },

    undraw(slice, amount) {
      if (partitions.get(slice.hold.partitionKey)?.slice === slice) slice.room += amount
      else if (amount > 0) onBack(slice, amount)
    },

    wish(holds, leaseMs, tick) {
      const takings: Taking[] = []
      let useful = true
      for (const [index, hold] of holds.entries()) {
        const found = seen(hold, tick)
        const amount = hold.amount + askedBefore(holds, index)
        if ((usable(hold, tick)?.room ?? -1) >= amount) continue
        if (found === undefined || !found.warm || tick < found.partition.noneUntilTick) {
          useful = false
        } else if (!found.partition.taking) {
          takings.push(takingFor(hold, amount, leaseMs, found.partition.used))
        }
      }
      if (!useful) return undefined
      const last = new Map(takings.map((taking) => [taking.hold.partitionKey, taking]))
      for (const { hold } of last.values()) {
        const partition = partitions.get(hold.partitionKey)
        if (partition !== undefined) partition.taking = true
      }
      return [...last.values()]
    },

    refill(hold, leaseMs, tick) {
      const partition = partitions.get(hold.partitionKey)
      const slice = partition?.slice
      if (partition === undefined || slice === undefined || partition.taking) return undefined
      if (tick < partition.noneUntilTick) return undefined
      const endsSoon = slice.overAtTick - tick < slice.lastsTicks / 4
      if (slice.room > slice.amount / 2 && !endsSoon) return undefined
      partition.taking = true
      return takingFor(hold, hold.amount, leaseMs, slice.amount - slice.room)
    },

    taken({ hold }, slice, tick) {
      const partition = partitions.get(hold.partitionKey)
      if (partition === undefined) {
        if (slice !== undefined) onBack(slice, slice.room)
        return
      }
      partition.taking = false
      if (slice === undefined) {
        partition.noneUntilTick = tick + NONE_MS
        return
      }
      drop(partition, tick)
      partition.slice = slice
    },

    balance(hold, slice, nowMs) {
      const state = { ...slice.state, cells: [...slice.state.cells] }
      // What the process knows of the moment is a little behind.
      const atMs = Math.max(nowMs, slice.startMs)
      advance(state, atMs)
      state.reserved -= slice.room
      return balanceOf(hold, state, atMs)
    },

    withRoom(hold, tick) {
      const slice = usable(hold, tick)
      return slice !== undefined && slice.room > 0 ? slice : undefined
    },

    giveBack(holds, tick) {
      let any = false
      for (const { partitionKey } of holds) {
        const partition = partitions.get(partitionKey)
        if (partition !== undefined && drop(partition, tick)) any = true
      }
      return any
    },

    backs: () => backs,

    told(known, until) {
      for (const { partitionKey } of known) {
        const partition = partitions.get(partitionKey)
        if (partition?.back === undefined || partition.back.number > until) continue
        partition.back = undefined
      }
    },

    areBehind: (holds, tick) =>
      holds.some(({ partitionKey }) => {
        const partition = partitions.get(partitionKey)
        return partition !== undefined && isBehind(partition, tick)
      }),

    areTaken: (holds) =>
      holds.some(({ partitionKey }) => partitions.get(partitionKey)?.taking === true),

    pause(holds, tick) {
      let taking = false
      for (const { partitionKey } of holds) {
        const partition = partitions.get(partitionKey)
        if (partition === undefined) continue
        partition.noneUntilTick = tick + NONE_MS
        taking ||= partition.taking
      }
      return taking
    },

    tidy(tick, which) {
      for (const [key, partition] of partitions) {
        const { slice } = partition
        if (slice !== undefined && (which === 'all' || tick >= slice.overAtTick))
          drop(partition, tick)
        const idle = tick - partition.askedAtTick > Math.max(warmMs, NONE_MS)
        const isKept = partition.taking || isBehind(partition, tick)
        if (partition.slice === undefined && !isKept && idle) partitions.delete(key)
      }
    },
  }
}

function isBehind({ back }: Partition, tick: number): boolean {
  return back !== undefined && tick - back.atTick <= BELIEVED_MS
}
