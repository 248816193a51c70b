import { DependencyError, PartError, UndecidedError } from '../errors.js'
import { UnansweredError } from '../store/store.js'
import { longerShortage, roomIn, shortage } from './balance.js'
import type { Shortage } from './balance.js'
import type { Part } from './buckets.js'
import type { Held, Hold, Reservation, ReserveRequest, Short } from './ledger.js'
import type { Quota } from './quota.js'
import type { Calendars } from './redis-calendars.js'
import type { RedisEnds } from './redis-ends.js'
import { storedIdempotencyKey, storedLeases, storedReservation } from './redis-keys.js'
import type { Elsewhere, HeldReply, LedgerReply, ShortReply } from './redis-replies.js'
import { balancesOf, unexpected } from './redis-room.js'
import type { RedisRoom, Seen } from './redis-room.js'
import { askedBefore, requireWhole } from './request.js'
import { spell } from './windows.js'

/**
 * Of the time of a request in several parts: for giving back what is held where one of them fails, for asking the
 * rest alone, and for looking at an earlier call.
 */
const KEPT = 0.25

/**
 * Holds a request in every bucket that its holds are in, by one script each and in parallel: one, where there is no
 * cluster. Each is all-or-nothing; what they make together is so too, since whatever is held is given back when one
 * of them is short or fails. A process that ends before it has done that leaves parts to their leases.
 */
export function createReserve<Context>(room: RedisRoom<Context>, ends: RedisEnds<Context>) {
  const { buckets, scripts, ask, own, reader, calendars } = room

  async function reservePart(
    request: ReserveRequest<Context>,
    part: Part,
    home: number,
    nowEpochMs: number,
    dueMs: number,
  ): Promise<LedgerReply> {
    const { id, idempotencyKey, holds, context, leaseMs } = request
    const tag = buckets.tagOf(part.bucket)
    const isHome = part.bucket === home
    const here = part.indices.map((index) => holds[index] as Hold)
    const key = storedReservation(id, tag)
    const keys = [
      key,
      storedIdempotencyKey(idempotencyKey, tag),
      storedLeases(tag),
      ...room.partitionsOf(part, holds),
    ]
    const elsewhere = isHome ? elsewhereOf(request, part) : []
    const call = {
      id,
      leaseMs,
      holds: here.map(({ quota, amount }) => ({
        amount,
        limit: quota.limit,
        window: spell(quota.window),
        unit: quota.unit,
        ...(quota.shadow ? { shadow: true } : {}),
      })),
      ...(isHome ? {} : { part: true }),
      ...(elsewhere.length === 0 ? {} : { elsewhere }),
    }
    const windows = here.map(({ quota }) => quota.window)
    const around = (atMs: number): Calendars => calendars.around(windows, atMs)
    const texts = isHome ? [JSON.stringify(context), `[${holds.map(quotaText).join()}]`] : ['', '']
    const nowMs = room.nowAt(nowEpochMs, key)
    return ask(scripts.reserve, keys, call, nowMs, around, { texts, dueMs })
  }

  function elsewhereOf({ holds }: ReserveRequest<Context>, home: Part): readonly Elsewhere[] {
    return holds.flatMap((hold, index) => {
      if (home.indices.includes(index)) return []
      const bucket = buckets.ofPartition(hold.partitionKey)
      const [key = ''] = room.partitionsOf({ bucket, indices: [index] }, holds)
      return [[index, key, String(hold.amount)] as const]
    })
  }

  return async function reserve(
    given: ReserveRequest<Context>,
    nowEpochMs: number,
  ): Promise<Held<Context> | Short> {
    requireWhole('leaseMs', given.leaseMs)
    for (const hold of given.holds) requireWhole('amount', hold.amount)
    const home = buckets.homeOf(given)
    const request = { ...given, id: buckets.nameId(given.id, home) }
    const { id, holds } = request
    const parts = buckets.partsOf(holds, home)
    const dueMs = given.dueMonotonicMs ?? room.dueMs()
    const keptMs = parts.length === 1 ? 0 : (dueMs - room.clock.monotonicMs()) * KEPT
    const outcomes = await Promise.allSettled(
      parts.map((part) => reservePart(request, part, home, nowEpochMs, dueMs - keptMs)),
    )
    const failed = outcomes.find((outcome) => outcome.status === 'rejected')
    if (failed !== undefined) {
      return besideFailure(request, parts, outcomes, failed.reason, nowEpochMs, dueMs)
    }
    const replies = outcomes.map((outcome) => (outcome as { value: LedgerReply }).value)
    const held = parts.filter((_, index) => replies[index]?.[0] === 'held')
    const [atHome] = replies as [LedgerReply, ...LedgerReply[]]
    if (atHome[0] === 'held' && atHome[5] !== undefined) {
      const others = held.filter(({ bucket }) => bucket !== home)
      const back = await ends.release({ id, holds, parts: others }, nowEpochMs, dueMs)
      const first = own.get(atHome[5][0]) ?? reader.read(atHome[5])
      const { answer, missing } = await repeatedFrom(home, atHome, first, nowEpochMs, dueMs)
      if (answer !== undefined) return answer
      // Where the first holds something, it may itself be what leaves no room for this call.
      const refusing = parts.filter(
        ({ bucket }, index) => replies[index]?.[0] === 'short' && missing.has(bucket),
      )
      if (refusing.length === 0 || !replies.every(hasFigures) || !holdTheSame(first.holds, holds)) {
        throw new UndecidedError('ledger', 'an earlier call with the same key is not done')
      }
      return shortFrom(holds, parts, replies, refusing, back)
    }
    if (held.length === parts.length) return heldFrom(request, home, parts, replies as HeldReply[])

    const back = await ends.release({ id, holds, parts: held }, nowEpochMs, dueMs)
    const other = replies.find(([kind]) => kind !== 'held' && kind !== 'short')
    if (other?.[0] === 'in_use') throw new RangeError('the reservation id is in use')
    if (other !== undefined) throw unexpected(other[0])
    const refusing = parts.filter((_, index) => replies[index]?.[0] === 'short')
    return shortFrom(holds, parts, replies as (HeldReply | ShortReply)[], refusing, back)
  }

  /**
   * Gives back what may be held where another part failed.
   *
   * @returns what the parts that answered are short by, whatever the others would say
   * @throws PartError it names what could not be asked, where all else was given back
   */
  async function besideFailure(
    { id, idempotencyKey, holds }: ReserveRequest<Context>,
    parts: readonly Part[],
    outcomes: readonly PromiseSettledResult<LedgerReply>[],
    failure: unknown,
    nowEpochMs: number,
    dueMs: number,
  ): Promise<Short> {
    const replyOf = (part: Part): LedgerReply | undefined => {
      const outcome = outcomes[parts.indexOf(part)]
      return outcome?.status === 'fulfilled' ? outcome.value : undefined
    }
    const held = parts.filter((part) => {
      const reply = replyOf(part)
      return reply?.[0] === 'held' && reply[5] === undefined
    })
    const back = await ends.release({ id, holds, parts: held }, nowEpochMs, dueMs)
    const isBack = ({ indices }: Part): boolean => indices.every((index) => back[index])
    const doubtful = parts.filter((part, index) =>
      held.includes(part) ? !isBack(part) : isUnanswered(outcomes[index]),
    )
    if (doubtful.length > 0) ends.abandonInBackground({ id, holds, parts: doubtful }, nowEpochMs)
    const refusing = parts.filter((part) => replyOf(part)?.[0] === 'short')
    // An earlier call may be what leaves no room for this one, and at its home that can perhaps not be asked.
    const isRepeat = replyOf(parts[0] as Part)?.[5] !== undefined || own.knows(idempotencyKey)
    if (refusing.length === 0 || isRepeat) {
      const gone = parts.filter((part) => replyOf(part) === undefined || doubtful.includes(part))
      if (gone.length === parts.length || !(failure instanceof DependencyError)) throw failure
      const places = gone.flatMap(({ indices }) => indices)
      throw new PartError('ledger', failure.message, places)
    }
    const answered = parts.filter((part) => {
      const reply = replyOf(part)
      return reply !== undefined && hasFigures(reply)
    })
    const replies = answered.map((part) => replyOf(part) as HeldReply | ShortReply)
    return shortFrom(holds, answered, replies, refusing, back)
  }

  function heldFrom(
    request: ReserveRequest<Context>,
    home: number,
    parts: readonly Part[],
    replies: readonly HeldReply[],
  ): Held<Context> {
    const { id, context, holds, idempotencyKey, leaseMs } = request
    const seen: Seen[] = []
    const shadowShort: number[] = []
    for (const [at, part] of parts.entries()) {
      const [, , atMs, figures, short] = replies[at] as HeldReply
      room.see(seen, part, holds, figures, atMs)
      shadowShort.push(...placesOf(part, short))
    }
    const admittedAtEpochMs = (replies[0] as HeldReply)[2]
    const reservation = { id, context, holds, admittedAtEpochMs }
    own.add(reservation, idempotencyKey, leaseMs, home)
    return {
      kind: 'held',
      reservation,
      repeated: false,
      balances: balancesOf(holds, seen),
      shadowShort: quotasAt(holds, shadowShort),
    }
  }

  /**
   * An earlier call with the same key holds it, perhaps one of another process that is not yet done.
   *
   * @returns no answer where the first is not whole: it is short in the buckets that miss it, has failed there, or has
   *   not come so far, and nobody may pass by it
   */
  async function repeatedFrom(
    home: number,
    reply: HeldReply,
    reservation: Reservation<Context>,
    nowEpochMs: number,
    dueMs: number,
  ): Promise<{ readonly answer?: Held<Context>; readonly missing: ReadonlySet<number> }> {
    const { id, holds } = reservation
    const [homePart, ...others] = buckets.partsOf(holds, home) as [Part, ...Part[]]
    const seen: Seen[] = []
    const [, , atMs, figures, short] = reply
    room.see(seen, homePart, holds, figures, atMs)
    const shadowShort = placesOf(homePart, short)
    const missing = new Set<number>()
    await Promise.all(
      others.map(async (part) => {
        const key = storedReservation(id, buckets.tagOf(part.bucket))
        const keys = [key, ...room.partitionsOf(part, holds)]
        const nowMs = room.nowAt(nowEpochMs, key)
        const asked = ask(scripts.stand, keys, {}, nowMs, room.aroundAll, { dueMs })
        const stands = await asked.catch((cause: unknown) => {
          const what = 'an earlier call with the same key cannot be seen everywhere'
          throw new UndecidedError('ledger', what, { cause })
        })
        if (stands[0] === 'unknown') {
          missing.add(part.bucket)
          return
        }
        if (stands[0] !== 'stands') throw unexpected(stands[0])
        room.see(seen, part, holds, stands[3], stands[2])
        shadowShort.push(...placesOf(part, stands[4]))
      }),
    )
    if (missing.size > 0) return { missing }
    const balances = balancesOf(holds, seen)
    const would = quotasAt(holds, shadowShort)
    return {
      answer: { kind: 'held', reservation, repeated: true, balances, shadowShort: would },
      missing,
    }
  }

  function shortFrom(
    holds: readonly Hold[],
    parts: readonly Part[],
    replies: readonly (HeldReply | ShortReply)[],
    refusing: readonly Part[],
    back: readonly Seen[],
  ): Short {
    const seen: Seen[] = []
    for (const [at, part] of parts.entries()) {
      const [, , atMs, figures] = replies[at] as HeldReply | ShortReply
      room.see(seen, part, holds, figures, atMs)
    }
    let short: Shortage | undefined
    for (const index of refusing.flatMap(({ indices }) => indices)) {
      const { quota, amount } = holds[index] as Hold
      const { state, atMs } = seen[index] as Seen
      const asked = amount + askedBefore(holds, index)
      if (quota.shadow || asked <= roomIn(state, quota.limit)) continue
      short = longerShortage(short, shortage(quota, state, asked, atMs))
    }
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
}

function hasFigures(reply: LedgerReply): reply is HeldReply | ShortReply {
  return reply[0] === 'held' || reply[0] === 'short'
}

/** In the same partitions, in the same order: what is told of the one is true of the other. */
function holdTheSame(one: readonly Hold[], other: readonly Hold[]): boolean {
  return (
    one.length === other.length &&
    one.every(({ partitionKey }, index) => partitionKey === other[index]?.partitionKey)
  )
}

function isUnanswered(outcome: PromiseSettledResult<LedgerReply> | undefined): boolean {
  return outcome?.status === 'rejected' && outcome.reason instanceof UnansweredError
}

/** Where the holds of a part are among all, by their numbers in its script. */
function placesOf({ indices }: Part, numbers: readonly number[]): number[] {
  return numbers.map((number) => indices[number - 1] as number)
}

function quotasAt(holds: readonly Hold[], places: readonly number[]): readonly Quota[] {
  return [...places].sort((one, other) => one - other).map((index) => (holds[index] as Hold).quota)
}

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
