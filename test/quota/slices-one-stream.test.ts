import { describe, expect, test } from 'vitest'
import { DependencyError } from '../../src/errors.js'
import type { Hold } from '../../src/quota/ledger.js'
import { storedReservation } from '../../src/quota/redis/stored-keys.js'
import { slotOf } from '../../src/store/store.js'
import { holdOf, quotaOf } from './quotas.js'
import { atMs, away, eventually, hold, home, onSlicedNodes, onThree } from './sliced-nodes.js'
import { requestOf, settled, standing, third } from './sliced-nodes.js'
import type { Process, Told } from './sliced-nodes.js'
import { bucketOf, tagOf } from './three-nodes.js'

// One stream that several processes decide, whose nodes hear of it in whatever order.

const LEASE_MS = 3_600_000
/** Longer than what ended something is remembered for. */
const STILL_MS = 150_000

const { closeAll, figures, group, open, opened, pass, sent } = onSlicedNodes()

/** A quota of places in flight in the bucket of `home`. */
function placesAtHome(): Hold {
  const window = { kind: 'open' } as const
  const quota = quotaOf({ name: 'places', limit: 1000, unit: 'in_flight', window })
  for (let tries = 0; ; tries += 1) {
    const places = holdOf(quota, 1, String(tries))
    if (bucketOf(places) === bucketOf(home)) return places
  }
}

describe('one stream at two processes', () => {
  /** Both have decided it, and the first has told of it. They may have policies that differ. */
  async function both(ofFirst: readonly Hold[] = onThree, ofSecond: readonly Hold[] = ofFirst) {
    const [one, other] = [await opened(), await opened()]
    const request = requestOf(ofFirst, LEASE_MS)
    const first = await hold(one, request)
    await one.expire(atMs)
    const again = { id: `${request.id}-again`, holds: ofSecond }
    const second = await hold(other, { ...request, ...again })
    return { one, other, first, second, request }
  }

  test.each(['one', 'other', 'third'] as const)(
    'is one reservation, wherever its report comes: %s',
    async (at) => {
      const { one, other, first, second } = await both()
      const processes = { one, other }
      await processes.other.expire(atMs)
      const all = { ...processes, third: open() }
      const ledger = all[at]
      expect(await ledger.find(second, atMs)).toMatchObject({ id: first })
      expect(await ledger.end(second, settled, atMs)).toMatchObject({
        reservation: { id: first },
        outcome: 'settled',
      })
      for (const each of Object.values(all)) {
        for (const id of [first, second]) {
          expect(await each.end(id, settled, atMs)).toBeUndefined()
        }
      }
      await closeAll()
      expect(await figures()).toEqual(standing(0, 1))
    },
  )

  test('is held whole until the last of their answers is given up', async () => {
    const { one, other, first, second } = await both()
    await other.expire(atMs)
    expect(await one.abandon(first, atMs)).toBeUndefined()
    await one.balances(onThree, atMs)
    await other.balances(onThree, atMs)
    expect(await figures()).toEqual(standing(1))
    expect(await other.abandon(second, atMs)).toMatchObject({
      reservation: { id: first },
      outcome: 'released',
    })
    await closeAll()
    expect(await figures()).toEqual(standing(0))
  })

  /** The second has heard of the first at home, and can tell one of the other nodes nothing more. */
  async function between() {
    const told = await both()
    const { spoilt } = told.other
    let isHeard = false
    spoilt.onAnswered = ({ script, bucket }) => {
      isHeard ||= script === 'turn' && bucket === bucketOf(home)
    }
    spoilt.lose = ({ script, bucket }) => isHeard && script === 'turn' && bucket === bucketOf(away)
    await expect(told.other.expire(atMs)).rejects.toThrow('lost')
    expect(isHeard).toBe(true)
    // Nobody carries its part there any more.
    expect(await told.one.abandon(told.first, atMs)).toBeUndefined()
    return { ...told, tell: () => ((spoilt.lose = () => false), told.other.expire(atMs)) }
  }

  test('is still whole where the first was given up before the second had told all nodes', async () => {
    const { first, second, tell } = await between()
    await tell()
    const third = open()
    expect(await third.find(second, atMs)).toMatchObject({ id: first })
    expect(await third.end(second, settled, atMs)).toMatchObject({ outcome: 'settled' })
    await closeAll()
    expect(await figures()).toEqual(standing(0, 1))
  })

  test('is settled everywhere where its report comes before that', async () => {
    const { second, tell } = await between()
    expect(await open().end(second, settled, atMs)).toMatchObject({ outcome: 'settled' })
    await tell()
    await closeAll()
    expect(await figures()).toEqual(standing(0, 1))
  })

  test('is settled once where two processes hear of its report so late', async () => {
    const { one, other, first, second, request } = await both()
    const keepFromAway = ({ spoilt }: Process): void => {
      let isHeard = false
      spoilt.onAnswered = ({ bucket }) => (isHeard ||= bucket === bucketOf(home))
      spoilt.lose = ({ bucket }) => isHeard && bucket === bucketOf(away)
    }
    keepFromAway(other)
    const another = await opened()
    keepFromAway(another)
    await hold(another, { ...request, id: `${request.id}-third` })
    for (const ledger of [other, another]) {
      await expect(ledger.expire(atMs)).rejects.toThrow('lost')
    }
    expect(await one.abandon(first, atMs)).toBeUndefined()
    expect(await open().end(second, settled, atMs)).toMatchObject({ outcome: 'settled' })
    for (const ledger of [other, another]) {
      ledger.spoilt.lose = () => false
      await ledger.expire(atMs)
    }
    await closeAll()
    expect(await figures()).toEqual(standing(0, 1))
  })

  test('is released everywhere where its report says so before that', async () => {
    const { other, second } = await both()
    const { spoilt } = other
    let isHeard = false
    spoilt.onAnswered = ({ bucket }) => (isHeard ||= bucket === bucketOf(home))
    spoilt.lose = ({ bucket }) => isHeard && bucket === bucketOf(away)
    await expect(other.expire(atMs)).rejects.toThrow('lost')
    const ended = await open().end(second, { kind: 'released' }, atMs)
    expect(ended).toMatchObject({ outcome: 'released' })
    spoilt.lose = () => false
    await other.expire(atMs)
    await closeAll()
    expect(await figures()).toEqual(standing(0))
  })

  test('holds nothing more where the first has no part', async () => {
    const { other, second } = await both([home], [home, away])
    await other.expire(atMs)
    expect(await other.end(second, settled, atMs)).toMatchObject({ outcome: 'settled' })
    await closeAll()
    expect(await figures()).toEqual([
      [4, 0],
      [0, 0],
      [0, 0],
    ])
  })

  test('carries what the first has where the second has none', async () => {
    const { one, other, first, second } = await both([home, away], [home])
    await other.expire(atMs)
    expect(await one.abandon(first, atMs)).toBeUndefined()
    expect(await other.end(second, settled, atMs)).toMatchObject({ outcome: 'settled' })
    await closeAll()
    expect(await figures()).toEqual([
      [4, 0],
      [4, 0],
      [0, 0],
    ])
  })

  test('is ended by another try of a report that did not reach every node', async () => {
    const { other, second } = await both()
    await other.expire(atMs)
    const ledger = await opened()
    ledger.spoilt.lose = ({ script, bucket }) => script === 'end' && bucket === bucketOf(away)
    // Its home answers nobody either, though it has ended it.
    ledger.spoilt.onAnswered = ({ script, bucket }) => {
      if (script === 'end' && bucket === bucketOf(home)) throw new DependencyError('ledger', 'lost')
    }
    const tries = {}
    await expect(ledger.end(second, settled, atMs, tries)).rejects.toThrow('lost')
    ledger.spoilt.lose = () => false
    ledger.spoilt.onAnswered = () => undefined
    expect(await ledger.end(second, settled, atMs, tries)).toMatchObject({ outcome: 'settled' })
    expect(await ledger.end(second, settled, atMs, {})).toBeUndefined()
    await closeAll()
    expect(await figures()).toEqual(standing(0, 1))
  })

  /** Redis decides the first, but for one node, which has not heard of it when the second is told. */
  async function betweenNodes() {
    const [plain, sliced] = [open('given', false), await opened()]
    const request = requestOf()
    let arrive = (): void => undefined
    const arrived = new Promise<void>((resolve) => (arrive = resolve))
    const isLast = ({ script, bucket }: Told): boolean =>
      script === 'reserve' && bucket === bucketOf(away)
    plain.spoilt.onAsked = (told) => (isLast(told) ? arrived : Promise.resolve())
    const answered = new Set<number>()
    plain.spoilt.onAnswered = ({ bucket }) => answered.add(bucket)
    const first = plain.reserve(request, atMs)
    await eventually(() => {
      expect(answered).toEqual(new Set([bucketOf(home), bucketOf(third)]))
    })
    const second = await hold(sliced, { ...request, id: `${request.id}-again` })
    return { request, plain, sliced, first, second, isLast, arrive }
  }

  test('is one where Redis decides the first meanwhile, node by node', async () => {
    const { request, plain, sliced, first, second, arrive } = await betweenNodes()
    await sliced.expire(atMs)
    arrive()
    const answer = await first
    if (answer.kind !== 'held') throw new Error('there is room')
    expect(answer.repeated).toBe(false)
    await sliced.balances(onThree, atMs)
    expect(await figures()).toEqual(standing(1))
    expect(await sliced.abandon(second, atMs)).toBeUndefined()
    // The same call again has it already.
    expect(await plain.reserve(request, atMs)).toMatchObject({ kind: 'held', repeated: true })
    expect(await figures()).toEqual(standing(1))
    const { id } = answer.reservation
    expect(await plain.abandon(id, atMs)).toMatchObject({ outcome: 'released' })
    await closeAll()
    expect(await figures()).toEqual(standing(0))
  })

  test.each(['before', 'after'] as const)(
    'is not carried by a first that came late, and was given up %s the second was in its place',
    async (when) => {
      const { plain, sliced, first, second, isLast, arrive } = await betweenNodes()
      let come = (): void => undefined
      const late = new Promise<void>((resolve) => (come = resolve))
      plain.spoilt.late = (told) => (isLast(told) ? late : undefined)
      const giveUp = async (): Promise<void> => {
        arrive()
        await expect(first).rejects.toThrow('late')
        await plain.expire(atMs)
      }
      if (when === 'before') {
        let isHeard = false
        sliced.spoilt.onAnswered = ({ bucket }) => (isHeard ||= bucket === bucketOf(home))
        sliced.spoilt.lose = ({ bucket }) => isHeard && bucket === bucketOf(away)
        await expect(sliced.expire(atMs)).rejects.toThrow('lost')
        await giveUp()
        sliced.spoilt.lose = () => false
      }
      await sliced.expire(atMs)
      if (when === 'after') await giveUp()
      come()
      await Promise.all(sent.splice(0))
      await sliced.balances(onThree, atMs)
      expect(await figures()).toEqual(standing(1))
      expect(await sliced.abandon(second, atMs)).toMatchObject({ outcome: 'released' })
      await closeAll()
      expect(await figures()).toEqual(standing(0))
    },
  )

  test('is held by the same call that is asked again of Redis', async () => {
    const [plain, request] = [open('given', false), requestOf()]
    const first = await hold(plain, request)
    expect(await plain.reserve(request, atMs)).toMatchObject({
      ...{ kind: 'held', repeated: true, reservation: { id: first } },
    })
    expect(await figures()).toEqual(standing(1))
  })

  test('is settled once where its report is told again after the second hears of it', async () => {
    const { second, tell } = await between()
    const third = open()
    third.spoilt.lose = ({ script, bucket }) => script === 'end' && bucket === bucketOf(home)
    await expect(third.end(second, settled, atMs)).rejects.toThrow('lost')
    await tell()
    third.spoilt.lose = () => false
    expect(await third.end(second, settled, atMs)).toMatchObject({ outcome: 'settled' })
    await closeAll()
    expect(await figures()).toEqual(standing(0, 1))
  })

  test('is settled once where a third hears of it long after that try, and before its home does', async () => {
    const { request, second, tell } = await between()
    const isAtHome = ({ bucket }: Told): boolean => bucket === bucketOf(home)
    const another = await opened()
    await hold(another, { ...request, id: `${request.id}-third` })
    another.spoilt.lose = isAtHome
    await expect(another.expire(atMs)).rejects.toThrow('lost')
    const reporter = open()
    reporter.spoilt.lose = (told) => told.script === 'end' && isAtHome(told)
    await expect(reporter.end(second, settled, atMs)).rejects.toThrow('lost')
    await tell()
    await expect(reporter.end(second, settled, atMs)).rejects.toThrow('lost')
    await pass(STILL_MS)
    another.spoilt.lose = () => false
    await another.expire(atMs)
    reporter.spoilt.lose = () => false
    expect(await reporter.end(second, settled, atMs)).toMatchObject({ outcome: 'settled' })
    await closeAll()
    const [atHome, atAway] = await figures()
    expect([atHome, atAway]).toEqual(standing(0, 1).slice(0, 2))
  })

  describe('at one that stands still in between', () => {
    const laterMs = atMs + STILL_MS

    /** The second is told where the first is, and that is all that it does for so long. */
    async function still(
      { other }: Awaited<ReturnType<typeof both>>,
      meanwhile: () => Promise<unknown>,
      ms = STILL_MS,
    ): Promise<void> {
      const { spoilt } = other
      let isHeard = false
      spoilt.onAnswered = ({ script, bucket }) => {
        isHeard ||= script === 'turn' && bucket === bucketOf(home)
      }
      spoilt.lose = () => isHeard
      await expect(other.expire(atMs)).rejects.toThrow('lost')
      expect(isHeard).toBe(true)
      await meanwhile()
      await pass(ms)
      spoilt.lose = () => false
    }

    test.each([
      [{ kind: 'released' }, 0],
      [settled, 1],
    ] as const)('is ended once, though its report is forgotten: %j', async (end, times) => {
      const told = await both()
      await still(told, async () => {
        expect(await open().end(told.second, end, atMs)).toMatchObject({ outcome: end.kind })
      })
      await told.other.expire(laterMs)
      await closeAll()
      expect(await figures(onThree, laterMs)).toEqual(standing(0, times))
    })

    test('is ended once, though nothing leads to the first any more', async () => {
      const told = await both()
      await still(told, () => open().end(told.second, settled, atMs), 2 * LEASE_MS + STILL_MS)
      const muchLaterMs = atMs + 2 * LEASE_MS + STILL_MS
      await told.other.expire(muchLaterMs)
      await closeAll()
      expect(await figures(onThree, muchLaterMs)).toEqual(standing(0, 1))
    })

    test('is still whole where the first was given up, and is settled once', async () => {
      const told = await both()
      await still(told, async () => {
        expect(await told.one.abandon(told.first, atMs)).toBeUndefined()
      })
      await told.other.expire(laterMs)
      await told.one.balances(onThree, laterMs)
      await told.other.balances(onThree, laterMs)
      expect(await figures(onThree, laterMs)).toEqual(standing(1))
      expect(await open().end(told.second, settled, laterMs)).toMatchObject({ outcome: 'settled' })
      await closeAll()
      expect(await figures(onThree, laterMs)).toEqual(standing(0, 1))
    })

    test('is settled everywhere where the first was given up, and a report has come', async () => {
      const told = await both()
      await still(told, async () => {
        expect(await told.one.abandon(told.first, atMs)).toBeUndefined()
        expect(await open().end(told.second, settled, atMs)).toMatchObject({ outcome: 'settled' })
      })
      await told.other.expire(laterMs)
      await closeAll()
      expect(await figures(onThree, laterMs)).toEqual(standing(0, 1))
    })

    test('is settled where the first was given up, and its report could not be told there before', async () => {
      const told = await both()
      const reporter = open()
      const isAway = ({ bucket }: Told): boolean => bucket === bucketOf(away)
      const tries = {}
      const report = (): Promise<unknown> => reporter.end(told.second, settled, laterMs, tries)
      await still(told, async () => {
        expect(await told.one.abandon(told.first, atMs)).toBeUndefined()
      })
      reporter.spoilt.lose = isAway
      await expect(report()).rejects.toThrow('lost')
      // Its home knows that it has ended, and not yet that the other node does.
      for (let times = 0; times < 3; times += 1) {
        await told.other.expire(laterMs)
        await expect(report()).rejects.toThrow('lost')
        await pass(STILL_MS / 2)
      }
      reporter.spoilt.lose = () => false
      expect(await report()).toMatchObject({ outcome: 'settled' })
      await pass(STILL_MS)
      await told.other.expire(laterMs)
      await closeAll()
      expect(await figures(onThree, laterMs)).toEqual(standing(0, 1))
    })

    test('does not take the first for ended whose slot is being moved, and is settled once', async () => {
      // Two keys at home, so that Redis watches over those that a turn names.
      const holds = [home, placesAtHome(), away]
      const told = await both(holds)
      await still(told, async () => {
        expect(await told.one.abandon(told.first, atMs)).toBeUndefined()
      })
      const tag = `{${tagOf(home)}}`
      const [slot, from] = [slotOf(tag), group().masterOf(tag)]
      const to = group().masters.find((master) => master !== from) ?? from
      await group().openMove(slot, from, to)
      const left = storedReservation(told.first, tagOf(home))
      await group().moveKeys(slot, from, to, 1000, (key) => key !== left)
      try {
        await expect(told.other.expire(laterMs)).rejects.toThrow(/TRYAGAIN|ASK/)
      } finally {
        await group().moveKeys(slot, from, to, 1000)
        await group().closeMove(slot, from, to)
      }
      await told.other.expire(laterMs)
      expect(await open().end(told.second, settled, laterMs)).toMatchObject({ outcome: 'settled' })
      await closeAll()
      expect(await figures(holds, laterMs)).toEqual([
        [4, 0],
        [0, 0],
        [4, 0],
      ])
    })

    test('is settled once where it hears only then what its home said before', async () => {
      const told = await both()
      const { other, second } = told
      other.spoilt.onAnswered = ({ script, bucket }) => {
        if (script !== 'turn' || bucket !== bucketOf(home)) return
        throw new DependencyError('ledger', 'its answer is lost')
      }
      await expect(other.expire(atMs)).rejects.toThrow('lost')
      expect(await open().end(second, settled, atMs)).toMatchObject({ outcome: 'settled' })
      await pass(STILL_MS)
      other.spoilt.onAnswered = () => undefined
      await other.expire(laterMs)
      expect(other.size().reservations).toBe(0)
      await closeAll()
      expect(await figures(onThree, laterMs)).toEqual(standing(0, 1))
    })

    test.each([
      ['is told again', {}],
      ['came twice, or is told by a release that keeps nothing with it', undefined],
    ])(
      'is settled once where its home was away since, and hears of it before its report, which %s',
      async (_, tries) => {
        const told = await both()
        const { other, second } = told
        const reporter = open()
        await reporter.find(told.first, atMs)
        const isAtHome = ({ bucket }: Told): boolean => bucket === bucketOf(home)
        other.spoilt.lose = isAtHome
        await expect(other.expire(atMs)).rejects.toThrow('lost')
        reporter.spoilt.lose = isAtHome
        // It is tried each second.
        for (let times = 0; times < 3; times += 1) {
          await expect(reporter.end(told.first, settled, atMs, tries)).rejects.toThrow('lost')
          await pass(STILL_MS / 2)
        }
        other.spoilt.lose = () => false
        await other.expire(laterMs)
        reporter.spoilt.lose = () => false
        expect(await reporter.end(told.first, settled, laterMs, tries)).toMatchObject({
          outcome: 'settled',
        })
        expect(await reporter.end(second, settled, laterMs)).toBeUndefined()
        await closeAll()
        expect(await figures(onThree, laterMs)).toEqual(standing(0, 1))
      },
    )
  })
})
