import { beforeEach, describe, expect, test, vi } from 'vitest'
import type { Admission } from '../src/admission.js'
import { ComingError, DependencyError } from '../src/errors.js'
import { createGenerationRates } from '../src/llm/generation-rate.js'
import { createLateReports } from '../src/late-reports.js'
import { noTries } from '../src/meter.js'
import type { EndedReservation, Report } from '../src/meter.js'
import type { End, Found } from '../src/quota/ledger.js'
import { createMemoryLedger } from '../src/quota/memory/memory-ledger.js'
import type { MemoryLedger } from '../src/quota/memory/memory-ledger.js'
import { DAY_MS } from '../src/units.js'
import { createUpkeep } from '../src/upkeep.js'
import type { Upkeep, UpkeepParts } from '../src/upkeep.js'
import { ScriptError } from '../src/store/store.js'
import { holdOf, quotaOf } from './quota/quotas.js'
import { exampleAdmission } from './example-admission.js'

const admission = exampleAdmission()

const leaseMs = 60_000

const parallel = quotaOf({
  name: 'parallel',
  unit: 'in_flight',
  limit: 1,
  window: { kind: 'open' },
})
const day = quotaOf({ name: 'day', limit: 1000, window: { kind: 'sliding', lengthMs: DAY_MS } })
const holds = [holdOf(parallel, 1), holdOf(day, 600)]

let nowEpochMs: number
let ledger: MemoryLedger<Admission>
let ended: EndedReservation[]
let failures: unknown[]
let served: boolean[]
let reported: unknown[]
let sizes: number[]
let parts: UpkeepParts
let created: Upkeep
const upkeep: Upkeep['round'] = (given) => created.round(given)
let changes: unknown[]

beforeEach(() => {
  nowEpochMs = 1_700_000_000_000
  ledger = createMemoryLedger<Admission>()
  ended = []
  failures = []
  served = []
  reported = []
  sizes = []
  changes = []
  created = createUpkeep()
  parts = {
    ledger,
    rates: createGenerationRates(),
    clock: { nowEpochMs: () => nowEpochMs, monotonicMs: () => 0 },
    metrics: { setLedgerSize: (size) => sizes.push(size.reservations) },
    recorder: {
      ended: async (reservation) => {
        ended.push(reservation)
      },
      failure: (operation, error) => failures.push([operation, error]),
      report: (reservation) => reported.push(reservation),
      upkeep: (change) => changes.push(change),
    },
    lateReports: createLateReports(),
    ready: () => true,
    setServing: (serving) => served.push(serving),
  }
})

async function reserve(): Promise<void> {
  const request = { id: 'r', idempotencyKey: 's', holds, context: admission, leaseMs }
  expect(await ledger.reserve(request, nowEpochMs)).toMatchObject({ kind: 'held' })
}

async function foundOf(id: string): Promise<Found<Admission>> {
  const found = await ledger.find(id, nowEpochMs)
  if (found === undefined) throw new Error('not found')
  return found
}

async function remaining(): Promise<readonly number[]> {
  return (await ledger.balances(holds, nowEpochMs)).map((balance) => balance.remaining)
}

const report: Report = {
  reservationId: 'r',
  usage: {
    inputTokens: 90,
    outputTokens: 10,
    cachedTokens: undefined,
    cacheWriteTokens: undefined,
  },
  bytesSent: 1000,
  durationMs: 2000,
  endStatus: 200,
  attempts: 1,
  upstreamBytesSent: 300,
  upstreamBytesReceived: 1200,
  upstreamDurationMs: 1900,
}

const theEnd: End = { kind: 'settled', inputTokens: 90, outputTokens: 10 }
const reportOf = (reservationId: string): Report => ({ ...report, reservationId })

describe('once a second', () => {
  test('what is never reported is ended by its lease, once: tokens stay spent, its place is free', async () => {
    await reserve()
    nowEpochMs += leaseMs - 1
    await upkeep(parts)
    expect(ended).toEqual([])
    expect(await remaining()).toEqual([0, 400])

    nowEpochMs += 1
    await upkeep(parts)
    await upkeep(parts)
    expect(ended.map((one) => [one.ended.outcome, one.ended.reservation.context])).toEqual([
      ['unsettled', admission],
    ])
    expect(await remaining()).toEqual([1, 400])
  })

  test('health follows readiness', async () => {
    let ready = false
    parts = { ...parts, ready: () => ready }
    await upkeep(parts)
    ready = true
    await upkeep(parts)
    expect(served).toEqual([false, true])
  })

  test('the size of the ledger is told', async () => {
    await upkeep(parts)
    await reserve()
    await upkeep(parts)
    expect(sizes).toEqual([0, 1])
  })

  describe('late reports', () => {
    const gone = new DependencyError('ledger', 'gone')
    test('that fail at once leave room for others in the event loop', async () => {
      const { lateReports } = parts
      for (let index = 0; index < 500; index += 1) lateReports.keep(reportOf(String(index)))
      let tried = 0
      const find = (): Promise<never> => {
        tried += 1
        return Promise.reject(gone)
      }
      const round = upkeep({ ...parts, ledger: { ...ledger, find } })
      await new Promise(setImmediate)
      expect(tried).toBeLessThan(10)
      await round
      expect(tried).toBe(500)
    })

    test('of a dialect that only another release knows are ended, and hold up no other', async () => {
      for (const [id, dialect] of [
        ['theirs', 'responses'],
        ['ours', 'openai'],
      ] as const) {
        const context = { ...admission, dialect }
        const request = { id, idempotencyKey: id, holds: [holdOf(day, 300)], context, leaseMs }
        await ledger.reserve(request, nowEpochMs)
        parts.lateReports.keep(reportOf(id))
      }
      await upkeep(parts)
      expect(ended.map((one) => one.ended.outcome)).toEqual(['estimated', 'settled'])
      expect([failures, parts.lateReports.count()]).toEqual([[], 0])
    })

    test('settle their reservation once the ledger answers', async () => {
      await reserve()
      const { lateReports } = parts
      lateReports.keep(report)
      await upkeep({ ...parts, ledger: { ...ledger, end: () => Promise.reject(gone) } })
      expect([ended, lateReports.count()]).toEqual([[], 1])

      lateReports.keep(reportOf('unknown'))
      await upkeep(parts)
      await upkeep(parts)
      expect(ended.map((one) => [one.ended.outcome, one.report])).toEqual([['settled', report]])
      expect(reported).toEqual([ended[0], undefined])
      expect(await remaining()).toEqual([1, 900])
      expect([failures, lateReports.count()]).toEqual([[], 0])
    })

    test('do not wait behind one that fails', async () => {
      await reserve()
      const { lateReports } = parts
      for (const id of ['at a node that is away', 'r', 'there, too']) lateReports.keep(reportOf(id))
      const asked: string[] = []
      const find: typeof ledger.find = async (id, now) => {
        asked.push(id)
        if (id !== 'r') throw gone
        return ledger.find(id, now)
      }
      await upkeep({ ...parts, ledger: { ...ledger, find } })
      expect(ended.map((one) => one.report?.reservationId)).toEqual(['r'])
      expect([reported.length, lateReports.count()]).toEqual([1, 2])

      lateReports.keep(reportOf('a later one'))
      asked.length = 0
      await upkeep({ ...parts, ledger: { ...ledger, find } })
      expect(asked).toEqual(['at a node that is away', 'there, too', 'a later one'])
    })

    test('are left for the next time when failing has taken half a second, and what failed is then last', async () => {
      const { lateReports } = parts
      for (const id of ['a', 'b', 'c']) lateReports.keep(reportOf(id))
      let monotonicMs = 0
      const asked: string[] = []
      const find: typeof ledger.find = async (id) => {
        asked.push(id)
        monotonicMs += 250
        throw gone
      }
      const clock = { nowEpochMs: () => nowEpochMs, monotonicMs: () => monotonicMs }
      const failing = { ...parts, clock, ledger: { ...ledger, find } }
      await upkeep(failing)
      expect(asked).toEqual(['a', 'b'])
      await upkeep(failing)
      expect(asked).toEqual(['a', 'b', 'c', 'a'])
      expect(lateReports.count()).toBe(3)
    })

    test('that a ledger which is there gives up on are given up at their tenth try, and shorten no round', async () => {
      const { lateReports } = parts
      let monotonicMs = 0
      let fault: Error = gone
      const find: typeof ledger.find = async () => {
        monotonicMs += 500
        throw fault
      }
      const clock = { nowEpochMs: () => nowEpochMs, monotonicMs: () => monotonicMs }
      const failing = { ...parts, clock, ledger: { ...ledger, find } }
      for (const id of ['a', 'b']) lateReports.keep(reportOf(id))
      // A ledger that is away may come back.
      for (let times = 0; times < 20; times += 1) await upkeep(failing)
      fault = new ScriptError('raised')
      for (let times = 0; times < 9; times += 1) await upkeep(failing)
      expect([reported, lateReports.count()]).toEqual([[], 2])
      await upkeep(failing)
      expect([reported, failures, lateReports.count()]).toEqual([[undefined, undefined], [], 0])
    })

    test('that are given up, or let go of beyond 10,000, are told of with what they have ended', async () => {
      await reserve()
      const { lateReports } = parts
      const half: typeof ledger.end = async (id, end, now, tries = {}) => {
        tries.ended ??= await ledger.end(id, end, now)
        throw new ScriptError('a part cannot be read')
      }
      const failing = { ...parts, ledger: { ...ledger, end: half } }
      lateReports.keep(report)
      for (let times = 0; times < 9; times += 1) await upkeep(failing)
      expect([ended, reported, lateReports.count()]).toEqual([[], [], 1])
      await upkeep(failing)
      expect([ended.length, reported, lateReports.count()]).toEqual([1, [ended[0]], 0])
      expect(ended[0]).toMatchObject({
        ended: { outcome: 'settled' },
        end: { inputTokens: 90 },
        report,
      })
    })

    test('end their reservation as the first try said, whatever was learnt meanwhile', async () => {
      await reserve()
      const ends: End[] = []
      const end: typeof ledger.end = async (id, how, now) => {
        ends.push(how)
        if (ends.length === 1) throw gone
        return ledger.end(id, how, now)
      }
      const usage = { ...report.usage, inputTokens: undefined, outputTokens: undefined }
      parts.lateReports.keep({ ...report, usage, endStatus: 200 })
      const found: string[] = []
      const find: typeof ledger.find = async (id, now) => {
        found.push(id)
        return ledger.find(id, now)
      }
      let estimated = 0
      const rates = { ...parts.rates, estimate: () => (estimated += 1) }
      const told = { ...parts, rates, ledger: { ...ledger, end, find } }
      await upkeep(told)
      await upkeep(told)
      expect([ends[1], found]).toEqual([ends[0], ['r']])
    })

    test.each([0, 1])(
      'that come twice are tried as the one that came further: number %d',
      async (which) => {
        await reserve()
        const found = await foundOf('r')
        const begun = { ...noTries(), ledger: { begun: { reservation: found, home: 0 } } }
        const ended = { ...noTries(), ledger: { ended: await ledger.end('r', theEnd, nowEpochMs) } }
        for (const [less, more] of [
          [noTries(), begun],
          [begun, ended],
        ]) {
          const lateReports = createLateReports()
          for (const tries of which === 0 ? [more, less] : [less, more])
            lateReports.keep(report, tries)
          const asked: unknown[] = []
          const end: typeof ledger.end = async (_, __, ___, tries) => void asked.push(tries)
          const find: typeof ledger.find = async () => found
          await upkeep({ ...parts, lateReports, ledger: { ...ledger, find, end } })
          expect(asked).toEqual([more?.ledger])
        }
      },
    )

    test('of which two have begun are tried as the first', async () => {
      await reserve()
      const begun = { reservation: await foundOf('r'), home: 0 }
      for (const by of ['first', 'second']) {
        parts.lateReports.keep(report, { ledger: { by, begun } })
      }
      const asked: unknown[] = []
      const end: typeof ledger.end = async (_, __, ___, tries) => void asked.push(tries?.by)
      await upkeep({ ...parts, ledger: { ...ledger, end } })
      expect(asked).toEqual(['first'])
    })

    test('that come again while a round has them are told of once', async () => {
      await reserve()
      const { lateReports } = parts
      lateReports.keep(report)
      const end: typeof ledger.end = async (id, how, now, tries = {}) => {
        tries.ended ??= await ledger.end(id, how, now)
        lateReports.keep({ ...report })
        return tries.ended
      }
      for (let times = 0; times < 3; times += 1) {
        await upkeep({ ...parts, ledger: { ...ledger, end } })
      }
      expect([ended.length, lateReports.count()]).toEqual([1, 0])
    })

    test('of a reservation that comes are kept however often they are tried, shorten no round, and end it', async () => {
      const { lateReports } = parts
      let monotonicMs = 0
      let isThere = false
      const find: typeof ledger.find = async (id, now) => {
        monotonicMs += 500
        if (!isThere) throw new ComingError('ledger', 'it comes')
        return ledger.find(id, now)
      }
      const clock = { nowEpochMs: () => nowEpochMs, monotonicMs: () => monotonicMs }
      const coming = { ...parts, clock, ledger: { ...ledger, find } }
      for (const id of ['a', 'r']) lateReports.keep(reportOf(id))
      for (let times = 0; times < 20; times += 1) await upkeep(coming)
      expect([monotonicMs, reported, lateReports.count()]).toEqual([20_000, [], 2])
      await reserve()
      isThere = true
      await upkeep(coming)
      expect(ended.map((one) => one.ended.outcome)).toEqual(['settled'])
      expect([failures, lateReports.count()]).toEqual([[], 0])
    })

    test('are tried by one round at a time', async () => {
      await reserve()
      parts.lateReports.keep(report)
      await Promise.all([upkeep(parts), upkeep(parts)])
      expect(reported).toEqual([ended[0]])
    })

    test('whose fault is our own are dropped, and what ended before is told', async () => {
      await reserve()
      const { lateReports } = parts
      for (const id of ['r', 'broken']) lateReports.keep(reportOf(id))
      const ours = new TypeError('ours')
      const find: typeof ledger.find = async (id, now) => {
        if (id === 'broken') throw ours
        return ledger.find(id, now)
      }
      await upkeep({ ...parts, ledger: { ...ledger, find } })
      expect(ended.map((one) => one.ended.outcome)).toEqual(['settled'])
      expect([failures, lateReports.count()]).toEqual([[['expire', ours]], 0])
    })

    test('whose reservation a shared ledger does not know yet are tried again as early ones are', async () => {
      const { lateReports } = parts
      const early: Report[] = []
      const earlyReports = { keep: (each: Report) => early.push(each) < 2 }
      for (const id of ['first', 'second']) lateReports.keep(reportOf(id))
      await upkeep({ ...parts, earlyReports })
      expect(early).toEqual([reportOf('first'), reportOf('second')])
      // There was no room for the second.
      expect([reported, lateReports.count()]).toEqual([[undefined], 0])

      await reserve()
      lateReports.keep(report)
      await upkeep({ ...parts, earlyReports })
      expect([ended.map((one) => one.ended.outcome), early.length]).toEqual([['settled'], 2])
    })

    test('push out none but the oldest, beyond 10,000', async () => {
      const { lateReports } = parts
      await reserve()
      for (const id of ['the oldest', 'r']) lateReports.keep(reportOf(id))
      for (let index = 2; index <= 10_000; index += 1) lateReports.keep(reportOf(String(index)))
      // The oldest is still to be told of.
      expect(lateReports.count()).toBe(10_001)
      await upkeep(parts)
      expect(ended.map((one) => one.ended.outcome)).toEqual(['settled'])
      // 500 in one round.
      expect([reported.length, reported[0], lateReports.count()]).toEqual([501, undefined, 9500])
    })

    test('that are let go of are told of with what they have ended, all of them at the next round', async () => {
      await reserve()
      const { lateReports } = parts
      const told = await ledger.end('r', theEnd, nowEpochMs)
      const settling = { context: admission, sinceAdmission: report, end: theEnd }
      for (let index = 0; index < 700; index += 1) {
        lateReports.keep(reportOf(`half ${String(index)}`), { settling, ledger: { ended: told } })
      }
      for (let index = 0; index < 10_000; index += 1) lateReports.keep(reportOf(String(index)))
      await upkeep(parts)
      expect(ended.map((each) => [each.ended, each.end, each.report?.reservationId])).toEqual(
        Array.from({ length: 700 }, (_, index) => [told, theEnd, `half ${String(index)}`]),
      )
    })

    test('that are let go of while a round has them are told of once', async () => {
      await reserve()
      const { lateReports } = parts
      const told = await ledger.end('r', theEnd, nowEpochMs)
      const ids = ['r', 's']
      for (const id of ids) lateReports.keep(reportOf(id), { ledger: { ended: told } })
      const find: typeof ledger.find = async (id) => {
        const reservation = { id, holds, context: admission, admittedAtEpochMs: 0, heldMs: 1 }
        return ids.includes(id) ? reservation : undefined
      }
      // While the first is tried, so many come that both would be pushed out.
      const end: typeof ledger.end = async (id) => {
        if (id !== 'r') throw new TypeError('tried')
        for (let index = 0; index < 10_000; index += 1) lateReports.keep(reportOf(String(index)))
        return told
      }
      const crowded = { ...parts, ledger: { ...ledger, find, end } }
      await upkeep(crowded)
      await upkeep(crowded)
      expect([ended.map((each) => each.report?.reservationId), failures]).toEqual([['r'], []])
    })

    test('are as many fewer as their reservations have more holds', async () => {
      const { lateReports } = parts
      const many = Array.from({ length: 80 }, () => holds)
        .flat()
        .slice(0, 80)
      const reservation = { id: 'r', holds: many, context: admission, admittedAtEpochMs: 0 }
      const tries = { ledger: { begun: { reservation, home: 0 } } }
      for (let index = 0; index < 2000; index += 1) lateReports.keep(reportOf(String(index)), tries)
      const given: (string | undefined)[] = []
      const find: typeof ledger.find = async (id) => void given.push(id)
      await upkeep({ ...parts, ledger: { ...ledger, find } })
      // A thousand were let go of.
      expect(given[0]).toBe('1000')
    })
  })

  test('leases are ended by one round at a time, and reports wait for none of an earlier one', async () => {
    await reserve()
    let asked = 0
    let answer = (): void => undefined
    const hanging: typeof ledger.expire = () => {
      asked += 1
      return new Promise((resolve) => {
        answer = () => {
          resolve([])
        }
      })
    }
    const hung = { ...parts, ledger: { ...ledger, expire: hanging } }
    const first = upkeep(hung)
    await vi.waitFor(() => {
      expect(asked).toBe(1)
    })
    parts.lateReports.keep({ ...report, reservationId: 'r' })
    await upkeep(hung)
    expect(ended.map((one) => one.ended.outcome)).toEqual(['settled'])
    expect(asked).toBe(1)
    answer()
    await first
    const third = upkeep(hung)
    await vi.waitFor(() => {
      expect(asked).toBe(2)
    })
    answer()
    await third
  })

  describe('the records of what was ended', () => {
    async function reserveMany(ids: readonly string[]): Promise<void> {
      for (const id of ids) {
        const request = { id, idempotencyKey: id, holds: [holdOf(day, 1)], context: admission }
        await ledger.reserve({ ...request, leaseMs }, nowEpochMs)
      }
      nowEpochMs += leaseMs
    }

    test('are asked for at once, and no later round waits for them', async () => {
      await reserveMany(['a', 'b', 'c'])
      let rounds = 0
      const expire: typeof ledger.expire = (now) => {
        rounds += 1
        return ledger.expire(now)
      }
      const asked: string[] = []
      const never = (one: EndedReservation): Promise<void> => {
        asked.push(one.ended.reservation.id)
        return new Promise(() => undefined)
      }
      const recorder = { ...parts.recorder, ended: never }
      const held = { ...parts, recorder, ledger: { ...ledger, expire } }
      void upkeep(held)
      await vi.waitFor(() => {
        expect(asked.toSorted()).toEqual(['a', 'b', 'c'])
      })
      void upkeep(held)
      await vi.waitFor(() => {
        expect(rounds).toBe(2)
      })
    })

    test('of late reports are asked for together', async () => {
      const ids = ['a', 'b', 'c']
      await reserveMany(ids)
      for (const id of ids) parts.lateReports.keep(reportOf(id))
      const asked: string[] = []
      let write = (): void => undefined
      const written = new Promise<void>((resolve) => (write = resolve))
      const slow = (one: EndedReservation): Promise<void> => {
        asked.push(one.ended.reservation.id)
        return written
      }
      const round = upkeep({ ...parts, recorder: { ...parts.recorder, ended: slow } })
      await vi.waitFor(() => {
        expect(asked).toEqual(ids)
      })
      write()
      await round
    })

    test('are asked for, whatever becomes of one of them', async () => {
      await reserveMany(['a', 'b', 'c'])
      const fault = new TypeError('ours')
      const asked: string[] = []
      const faulty = (one: EndedReservation): Promise<void> => {
        asked.push(one.ended.reservation.id)
        if (asked.length === 1) throw fault
        return Promise.resolve()
      }
      await upkeep({ ...parts, recorder: { ...parts.recorder, ended: faulty } })
      expect([asked.toSorted(), failures]).toEqual([['a', 'b', 'c'], [['expire', fault]]])
    })
  })

  describe('what fails', () => {
    const gone = new DependencyError('ledger', 'gone')
    let monotonicMs = 0
    const roundAt = (
      atMs: number,
      expire: typeof ledger.expire = (now) => ledger.expire(now),
    ): Promise<void> => {
      monotonicMs = atMs
      const clock = { nowEpochMs: () => nowEpochMs, monotonicMs: () => monotonicMs }
      return upkeep({ ...parts, clock, ledger: { ...ledger, expire } })
    }
    const failing = (): Promise<never> => Promise.reject(gone)
    /** Other things end meanwhile. */
    const failingBeside: typeof ledger.expire = async (now, onFailure) => {
      onFailure?.(gone)
      return ledger.expire(now)
    }

    test.each([
      ['alone', failing],
      ['beside what ends', failingBeside],
    ])(
      'is told once when it has gone on for 10 s, %s, and once when it is over',
      async (_, fail) => {
        for (const atMs of [0, 1000, 9999]) await roundAt(atMs, fail)
        expect([failures.length, changes]).toEqual([3, []])
        await roundAt(10_000, fail)
        await roundAt(11_000, fail)
        expect(changes).toEqual([{ goesOn: true, error: gone }])
        await roundAt(20_999)
        expect(changes.length).toBe(1)
        await roundAt(21_000)
        await roundAt(22_000)
        expect(changes.slice(1)).toEqual([{ goesOn: false }])
      },
    )

    test('now and then does not go on', async () => {
      for (const atMs of [0, 10_000, 20_000, 30_000]) {
        await roundAt(atMs, failing)
        await roundAt(atMs + 9999)
        await roundAt(atMs + 10_000)
      }
      expect([failures.length, changes]).toEqual([4, []])
    })
  })

  test('a ledger that fails is told of, and asked again the next time', async () => {
    await reserve()
    nowEpochMs += leaseMs
    const error = new DependencyError('ledger', 'gone')
    await upkeep({ ...parts, ledger: { ...ledger, expire: () => Promise.reject(error) } })
    expect(failures).toEqual([['expire', error]])
    await upkeep(parts)
    expect(ended.length).toBe(1)
  })

  test('is over when what its rounds have ended is told', async () => {
    await reserve()
    nowEpochMs += leaseMs
    const events: string[] = []
    const steps: (() => void)[] = []
    const step = (event: string) =>
      new Promise<void>((resolve) => {
        steps.push(() => {
          events.push(event)
          resolve()
        })
      })
    const round = upkeep({
      ...parts,
      ledger: {
        ...ledger,
        async expire(now) {
          await step('answered')
          return ledger.expire(now)
        },
      },
      recorder: { ...parts.recorder, ended: () => step('recorded') },
    })
    let timers = 0
    const after = (): (() => void) => {
      timers += 1
      return () => (timers -= 1)
    }
    const isOver = created.over({ after }).then(() => events.push('over'))
    for (let taken = 0; taken < 2; taken += 1) {
      await vi.waitUntil(() => steps.length > taken)
      await new Promise(setImmediate)
      steps[taken]?.()
    }
    await Promise.all([round, isOver])
    expect(events).toEqual(['answered', 'recorded', 'over'])
    await created.over({ after })
    expect(timers).toBe(0)
  })

  test('is waited for no longer than 2 s', async () => {
    void upkeep({
      ...parts,
      ledger: { ...ledger, expire: () => new Promise<never>(() => undefined) },
    })
    const due: [number, () => void][] = []
    const isOver = created.over({
      after(delayMs, action) {
        due.push([delayMs, action])
        return () => undefined
      },
    })
    for (const [delayMs, action] of due) if (delayMs === 2000) action()
    await isOver
  })
})
