import { createDeadlineQueue } from '../deadline-queue.js'
import type { Hold } from '../ledger.js'
import {
  advance,
  clearsAtMs,
  createWindowState,
  locate,
  move,
  place,
  underWindow,
} from '../windows/window-state.js'
import type { Placement, WindowState } from '../windows/window-state.js'
import { createTimelines } from '../windows/windows.js'

/** Every partition that has anything spent, reserved or owed, and every one that a reservation holds. */
export interface Partitions {
  /** The hold's partition, up to date and as the hold's own quota sees it; changes nothing that counts. */
  look(hold: Hold, nowEpochMs: number): WindowState | undefined
  /** The same, and from now on the partition follows this quota's limit and window. */
  follow(hold: Hold, nowEpochMs: number): WindowState | undefined
  /** Reserves the hold's amount, which was found to fit. */
  reserve(hold: Hold, nowEpochMs: number): Placement
  /** The reservation that is placed here can change nothing more. */
  letGo(placement: Placement, nowEpochMs: number): void
  /** Frees up to `maxCount` partitions that are as if they had never been used. */
  sweep(nowEpochMs: number, maxCount: number): void
  /** Is the hold's partition kept already? */
  has(hold: Hold): boolean
  readonly count: () => number
  clear(): void
}

export function createPartitions(): Partitions {
  const timelineOf = createTimelines()
  const states = new Map<string, WindowState>()
  /** Partitions by when they will be clear. One that is held again stays until then, and is skipped. */
  const idle = createDeadlineQueue<WindowState>()

  /** The state up to date, as the hold's own quota sees it: itself, or what it would be under that window. */
  function seenBy(hold: Hold, state: WindowState, nowEpochMs: number): WindowState {
    advance(state, nowEpochMs)
    const timeline = timelineOf(hold.quota.window)
    return timeline === state.timeline ? state : underWindow(state, timeline, nowEpochMs)
  }

  function freeWhenClear(state: WindowState, nowEpochMs: number): void {
    idle.put(state, clearsAtMs(state, state.limit, nowEpochMs))
  }

  return {
    look(hold, nowEpochMs) {
      const state = states.get(hold.partitionKey)
      return state && seenBy(hold, state, nowEpochMs)
    },

    follow(hold, nowEpochMs) {
      const before = states.get(hold.partitionKey)
      if (before === undefined) return undefined
      const state = seenBy(hold, before, nowEpochMs)
      if (state !== before) {
        move(before, state, nowEpochMs)
        idle.remove(before)
        states.set(hold.partitionKey, state)
      }
      state.limit = hold.quota.limit
      if (state !== before && state.holders === 0) freeWhenClear(state, nowEpochMs)
      return state
    },

    reserve(hold, nowEpochMs) {
      const { quota, partitionKey } = hold
      let state = states.get(partitionKey)
      if (state === undefined) {
        state = createWindowState(partitionKey, timelineOf(quota.window), quota.limit)
        states.set(partitionKey, state)
      }
      return place(state, hold.amount, nowEpochMs)
    },

    letGo(placement, nowEpochMs) {
      const { state } = locate(placement)
      state.holders -= 1
      if (state.holders > 0 || state.queuePosition !== -1) return
      advance(state, nowEpochMs)
      freeWhenClear(state, nowEpochMs)
    },

    sweep(nowEpochMs, maxCount) {
      for (let swept = 0; swept < maxCount; swept += 1) {
        const state = idle.takeDue(nowEpochMs)
        if (state === undefined) return
        // Held again meanwhile: `letGo` puts it back.
        if (state.holders > 0) continue
        advance(state, nowEpochMs)
        if (clearsAtMs(state, state.limit, nowEpochMs) > nowEpochMs) {
          freeWhenClear(state, nowEpochMs)
        } else {
          states.delete(state.partitionKey)
        }
      }
    },

    has: ({ partitionKey }) => states.has(partitionKey),

    count: () => states.size,

    clear() {
      states.clear()
    },
  }
}
