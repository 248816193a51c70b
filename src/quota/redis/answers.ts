import { longestShortage, shortHolds } from '../balance.js'
import type { Seen } from '../balance.js'
import type { Part } from './buckets.js'
import type { Held, Hold, Reservation, Short } from '../ledger.js'
import type { Quota } from '../quota.js'
import type { HeldReply, JoinedReply, LedgerReply, ShortReply } from './replies.js'
import { balancesOf, unexpected } from './room.js'
import type { RedisRoom } from './room.js'

// What the replies of all parts of a reserve come to.

type WithFigures = HeldReply | JoinedReply | ShortReply

export function hasFigures(reply: LedgerReply | undefined): reply is HeldReply | ShortReply {
  return reply?.[0] === 'held' || reply?.[0] === 'short'
}

function seeAll<Context>(
  room: RedisRoom<Context>,
  holds: readonly Hold[],
  parts: readonly Part[],
  replies: readonly WithFigures[],
): Seen[] {
  const seen: Seen[] = []
  for (const [at, part] of parts.entries()) {
    const [, , atMs, figures] = replies[at] as WithFigures
    room.see(seen, part, holds, figures, atMs)
  }
  return seen
}

/** The call carries every part of the reservation. */
export function heldFrom<Context>(
  room: RedisRoom<Context>,
  reservation: Reservation<Context>,
  { repeated, carrier }: Pick<Held<Context>, 'repeated' | 'carrier'>,
  parts: readonly Part[],
  replies: readonly (HeldReply | JoinedReply)[],
): Held<Context> {
  const { holds } = reservation
  const seen = seeAll(room, holds, parts, replies)
  const shadowShort = parts.flatMap((part, at) => {
    const [, , , , short] = replies[at] as HeldReply | JoinedReply
    return placesOf(part, short)
  })
  return {
    kind: 'held',
    reservation,
    repeated,
    carrier,
    balances: balancesOf(holds, seen),
    shadowShort: quotasAt(holds, shadowShort),
  }
}

/**
 * @param parts those that answered
 * @param refusing those that are short
 * @param back what was given back, by its place among the holds
 */
export function shortFrom<Context>(
  room: RedisRoom<Context>,
  holds: readonly Hold[],
  parts: readonly Part[],
  replies: readonly (HeldReply | ShortReply)[],
  refusing: readonly Part[],
  back: readonly (Seen | undefined)[],
): Short {
  const seen = seeAll(room, holds, parts, replies)
  const short = longestShortage(shortHolds(holds, seenBy(refusing, seen)))
  if (short === undefined) throw unexpected('short')
  return {
    ...short,
    // Of what a node has that did not answer nothing is said.
    balances: holds.flatMap((hold, index) => {
      const stood = back[index] ?? seen[index]
      return stood === undefined ? [] : balancesOf([hold], [stood])
    }),
  }
}

/**
 * May all that refuses be for what an earlier call of the same stream holds itself? Not where less is reserved than
 * is asked for.
 */
export function isPerhapsOwn<Context>(
  room: RedisRoom<Context>,
  holds: readonly Hold[],
  parts: readonly Part[],
  replies: readonly (HeldReply | ShortReply)[],
  refusing: readonly Part[],
): boolean {
  const seen = seeAll(room, holds, parts, replies)
  return shortHolds(holds, seenBy(refusing, seen)).every(
    ({ quota, asked, at }) => quota.shadow || (at.state?.reserved ?? 0) >= asked,
  )
}

/** What these parts have, by the place among all holds. */
function seenBy(parts: readonly Part[], seen: readonly Seen[]): Seen[] {
  const theirs: Seen[] = []
  for (const index of parts.flatMap(({ indices }) => indices)) theirs[index] = seen[index] as Seen
  return theirs
}

/** In the same partitions, in the same order: what is told of the one is true of the other. */
export function holdTheSame(one: readonly Hold[], other: readonly Hold[]): boolean {
  return (
    one.length === other.length &&
    one.every(({ partitionKey }, index) => partitionKey === other[index]?.partitionKey)
  )
}

/** Where the holds of a part are among all, by their numbers in its script. */
function placesOf({ indices }: Part, numbers: readonly number[]): number[] {
  return numbers.map((number) => indices[number - 1] as number)
}

function quotasAt(holds: readonly Hold[], places: readonly number[]): readonly Quota[] {
  return [...places].sort((one, other) => one - other).map((index) => (holds[index] as Hold).quota)
}
