import { DependencyError, PartError, UndecidedError } from '../../errors.js'
import { UnansweredError } from '../../store/store.js'
import type { Part } from './buckets.js'
import { elsewhereOf } from './elsewhere.js'
import type { Held, Hold, Reservation, ReserveRequest, Short } from '../ledger.js'
import { deniesUnasked } from '../quota.js'
import { hasFigures, heldFrom, holdTheSame, isPerhapsOwn, shortFrom } from './answers.js'
import type { Calendars } from './calendars.js'
import type { RedisEnds } from './ends.js'
import { storedIdempotencyKey, storedLeases, storedReservation } from './stored-keys.js'
import { partsInTime } from './parts-in-time.js'
import { quotaText } from './quota-text.js'
import type { HeldReply, LedgerReply } from './replies.js'
import type { ShortReply, Told } from './replies.js'
import { unexpected } from './room.js'
import type { Seen } from '../balance.js'
import type { RedisRoom } from './room.js'
import { requireWhole } from '../request.js'
import { spell } from '../windows/windows.js'

/**
 * Of the time of a request in several parts: for giving back what is held where one of them fails, for asking the
 * rest alone, and for looking at an earlier call.
 */
const KEPT = 0.25
/** Of `timeoutMs`: a node that has answered nobody for so long is done without, if it can be, once others have answered. */
const PATIENCE = 0.5

/** A reserve, as its parts were answered. */
interface Asked<Context> {
  readonly request: ReserveRequest<Context>
  readonly home: number
  /** The home first. */
  readonly parts: readonly Part[]
  /** Undefined where a part failed. */
  readonly replies: readonly (LedgerReply | undefined)[]
  /** Where the partitions stand of what was given back, by its place among the holds: when it is, or time is over. */
  readonly back: Promise<readonly (Seen | undefined)[]>
  readonly nowEpochMs: number
  readonly dueMs: number
}

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
    const elsewhere = isHome ? elsewhereOf(buckets, holds, part) : []
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
    const keepsNothing = parts.length === 1 || given.isLast === true
    const keptMs = keepsNothing ? 0 : (dueMs - room.clock.monotonicMs()) * KEPT
    const outcomes = await partsInTime(
      parts.map((part) => reservePart(request, part, home, nowEpochMs, dueMs - keptMs)),
      {
        silentMs: (index) => room.silentMs((parts[index] as Part).bucket),
        patienceMs: room.timeoutMs * PATIENCE,
        isNeeded: (index) => isNeeded(parts[index] as Part, given),
      },
    )
    const replies = outcomes.map(replyIn)
    const told = toldIn(replies[0])
    if (told === undefined && replies.every((reply) => reply?.[0] === 'held')) {
      const [atHome] = replies as [HeldReply, ...HeldReply[]]
      const { context, idempotencyKey, leaseMs } = request
      const reservation = { id, context, holds, admittedAtEpochMs: atHome[2] }
      own.add(reservation, idempotencyKey, leaseMs, home)
      const answer = { repeated: false, carrier: id }
      return heldFrom(room, reservation, answer, parts, replies)
    }

    const back = giveBack(request, home, parts, outcomes, nowEpochMs, dueMs)
    const failed = outcomes.find((outcome) => outcome.status === 'rejected')
    const asked: Asked<Context> = { request, home, parts, replies, back, nowEpochMs, dueMs }
    if (told !== undefined) {
      return repeated(asked, own.get(told[0]) ?? reader.read(told), failed?.reason)
    }
    if (failed !== undefined) return shortBesideFailure(asked, failed.reason)
    const seen = await back
    const answered = replies as LedgerReply[]
    const other = answered.find(([kind]) => kind !== 'held' && kind !== 'short')
    if (other?.[0] === 'in_use') throw new RangeError('the reservation id is in use')
    if (other !== undefined) throw unexpected(other[0])
    return shortFrom(
      room,
      holds,
      parts,
      answered as (HeldReply | ShortReply)[],
      shortIn(asked),
      seen,
    )
  }

  /** Gives back what the call holds for itself, and later what it may hold where it was not answered. */
  async function giveBack(
    { id, holds, idempotencyKey }: ReserveRequest<Context>,
    home: number,
    parts: readonly Part[],
    outcomes: readonly PromiseSettledResult<LedgerReply>[],
    nowEpochMs: number,
    dueMs: number,
  ): Promise<readonly Seen[]> {
    const own = { id, carrier: id, holds }
    for (const part of parts.filter((_, index) => isUnanswered(outcomes[index]))) {
      const byKey = part.bucket === home ? { idempotencyKey } : {}
      ends.leaveInBackground({ ...own, parts: [part], ...byKey }, nowEpochMs)
    }
    const held = parts.filter((_, index) => holdsItself(replyIn(outcomes[index])))
    return ends.leave({ ...own, parts: held }, nowEpochMs, dueMs)
  }

  /**
   * Where some parts failed.
   *
   * @returns what the parts that answered are short by, whatever the others would say
   * @throws PartError it names what could not be asked, while all else is on its way back
   */
  async function shortBesideFailure(asked: Asked<Context>, failure: unknown): Promise<Short> {
    const { request, parts, replies } = asked
    const refusing = shortIn(asked)
    if (refusing.length === 0 || own.knows(request.idempotencyKey))
      throw partFailure(asked, failure)
    const back = await asked.back
    const answered = parts.filter((_, index) => hasFigures(replies[index]))
    const figures = replies.filter(hasFigures)
    // Whether there is an earlier call, its home alone would say.
    if (
      replies[0] === undefined &&
      isPerhapsOwn(room, request.holds, answered, figures, refusing)
    ) {
      const what = 'an earlier call with the same key may be what leaves no room'
      throw new UndecidedError('ledger', what, { cause: failure })
    }
    return shortFrom(room, request.holds, answered, figures, refusing, back)
  }

  /** The failure, with the parts that it leaves, where that is not all of them. */
  function partFailure(
    { parts, replies, back }: Asked<Context>,
    failure: unknown,
    heldBy?: string,
  ): unknown {
    const gone = parts.filter((_, index) => replies[index] === undefined)
    if (gone.length === parts.length || !(failure instanceof DependencyError)) return failure
    const held = parts.filter((_, index) => holdsItself(replies[index]))
    const isBack = back.then(
      (seen) => held.every(({ indices }) => indices.every((at) => seen[at])),
      () => false,
    )
    const places = gone.flatMap(({ indices }) => indices)
    return new PartError('ledger', failure.message, places, isBack, heldBy)
  }

  function shortIn({ parts, replies }: Asked<Context>): readonly Part[] {
    return parts.filter((_, index) => replies[index]?.[0] === 'short')
  }

  /**
   * An earlier call with the same key holds it, perhaps one of another process that is not yet done. It passes only if
   * it carries every part; else it carries none of them any more.
   */
  async function repeated(
    asked: Asked<Context>,
    first: Reservation<Context>,
    failure: unknown,
  ): Promise<Held<Context> | Short> {
    const { request, home, parts, replies, nowEpochMs, dueMs } = asked
    const back = await asked.back
    const carried = { id: first.id, carrier: request.id, holds: first.holds }
    const firstParts = buckets.partsOf(first.holds, home) as [Part, ...Part[]]
    const [homePart, ...others] = firstParts
    if (failure !== undefined) {
      await ends.leave({ ...carried, parts: [homePart] }, nowEpochMs, dueMs)
      throw partFailure(asked, failure, first.id)
    }
    const joins = others.map((part) => join(first, part, request.id, nowEpochMs, dueMs))
    // Its home has answered.
    const [, ...outcomes] = await partsInTime<LedgerReply | undefined>(
      [Promise.resolve(replies[0]), ...joins],
      {
        silentMs: (index) => room.silentMs((firstParts[index] as Part).bucket),
        patienceMs: room.timeoutMs * PATIENCE,
        isNeeded: () => request.mayBeAskedAgain !== true,
      },
    )
    const joined = [replies[0], ...outcomes.map(replyIn)]
    if (joined.every((reply) => reply?.[0] === 'held' || reply?.[0] === 'joined')) {
      ends.remember(first)
      const answer = { repeated: true, carrier: request.id }
      return heldFrom(room, first, answer, firstParts, joined)
    }

    const unanswered = others.filter((_, index) => isUnanswered(outcomes[index]))
    ends.leaveInBackground({ ...carried, parts: unanswered }, nowEpochMs)
    const carrying = firstParts.filter((_, index) =>
      ['held', 'joined'].includes(joined[index]?.[0] ?? ''),
    )
    await ends.leave({ ...carried, parts: carrying }, nowEpochMs, dueMs)
    const failed = outcomes.find((outcome) => outcome.status === 'rejected')
    if (failed !== undefined) {
      const what = 'an earlier call with the same key cannot be seen everywhere'
      throw new UndecidedError('ledger', what, { cause: failed.reason })
    }
    // Where the first holds something, it may itself be what leaves no room for this call.
    const missing = firstParts.filter((_, index) => joined[index]?.[0] === 'unknown')
    const isMissing = ({ bucket }: Part): boolean => missing.some((part) => part.bucket === bucket)
    const refusing = shortIn(asked).filter(isMissing)
    if (
      refusing.length === 0 ||
      !replies.every(hasFigures) ||
      !holdTheSame(first.holds, request.holds)
    ) {
      throw new UndecidedError('ledger', 'an earlier call with the same key is not done')
    }
    return shortFrom(room, request.holds, parts, replies, refusing, back)
  }

  async function join(
    { id, holds }: Reservation<Context>,
    part: Part,
    call: string,
    nowEpochMs: number,
    dueMs: number,
  ): Promise<LedgerReply> {
    const tag = buckets.tagOf(part.bucket)
    const key = storedReservation(id, tag)
    const keys = [key, storedReservation(call, tag), ...room.partitionsOf(part, holds)]
    const nowMs = room.nowAt(nowEpochMs, key)
    const reply = await ask(scripts.join, keys, { id: call }, nowMs, room.aroundAll, { dueMs })
    if (reply[0] !== 'joined' && reply[0] !== 'unknown') throw unexpected(reply[0])
    return reply
  }
}

/** Without it the request is refused, or not decided. */
function isNeeded(
  { indices }: Part,
  { holds, isLast, needed = [] }: ReserveRequest<unknown>,
): boolean {
  if (isLast === true) return true
  const here = indices.map((index) => holds[index] as Hold)
  return here.some((hold) => deniesUnasked(hold.quota) || needed.includes(hold))
}

function isUnanswered(outcome: PromiseSettledResult<unknown> | undefined): boolean {
  return outcome?.status === 'rejected' && outcome.reason instanceof UnansweredError
}

function replyIn<Reply>(outcome: PromiseSettledResult<Reply> | undefined): Reply | undefined {
  return outcome?.status === 'fulfilled' ? outcome.value : undefined
}

function holdsItself(reply: LedgerReply | undefined): boolean {
  return reply?.[0] === 'held' && toldIn(reply) === undefined
}

/** The reservation of an earlier call that has the key. */
function toldIn(reply: LedgerReply | undefined): Told | undefined {
  return reply?.[0] === 'held' ? reply[5] : undefined
}
