import { setImmediate as nextTick } from 'node:timers/promises'
import { describe, expect, test, vi } from 'vitest'
import { DependencyError, PartError, UndecidedError } from '../../src/errors.js'
import { createFailoverLedger } from '../../src/quota/failover/failover-ledger.js'
import type { GuardedLedger } from '../../src/quota/failover/guarded-ledger.js'
import type { Held, Hold, Ledger, ReserveRequest } from '../../src/quota/ledger.js'
import { createMemoryLedger } from '../../src/quota/memory/memory-ledger.js'
import type { OnStoreFailure } from '../../src/quota/quota.js'
import { halfOfAll } from './claims-model.js'
import { holdOf, quotaOf } from './quotas.js'
import { onEmptyCluster } from './on-redis.js'
import { away, bucketOf, home, openProcess, reservedIn, streamOf, third } from './three-nodes.js'
import type { Differences } from './three-nodes.js'

// A part of the store is away: the rest is held while what the first call held of it is on its way back.

/** Longer than a test may take: what is not done at once is never done in time. */
const NEVER_MS = 300_000

/** Each quota is asked what it says; the share of the process is half of each limit, from the first upkeep on. */
function overFailure(
  main: Ledger<string>,
  dueMs = performance.now() + NEVER_MS,
): GuardedLedger<string> {
  const processes = { census: async () => halfOfAll }
  const local = { ledger: createMemoryLedger<string>(), processes, atLeast: 2 }
  return createFailoverLedger({ main, local: { ...local, dueMonotonicMs: () => dueMs } })
}

function gate<T = void>() {
  let pass: (value: T) => void = () => undefined
  const passed = new Promise<T>((resolve) => {
    pass = resolve
  })
  return { pass: (value: T) => pass(value), passed }
}

describe('on a cluster', () => {
  const on = onEmptyCluster()
  function open(differences: Differences = {}): Ledger<string> {
    const ledger = openProcess(on.group, differences)
    on.ledgers.push(ledger)
    return ledger
  }

  const allowing = [home, away, third].map((each) => {
    const onStoreFailure: OnStoreFailure = 'allow'
    return { ...each, quota: { ...each.quota, limit: each.amount, onStoreFailure } }
  })
  const withoutAway = { kind: 'held', repeated: false, fallback: { uncountedQuotas: ['away'] } }
  const isOf = (hold: Hold, bucket: number): boolean => bucket === bucketOf(hold)

  test('a node that is silent is done without before its time is over, and what comes there late holds nothing', async () => {
    const { pass, passed } = gate()
    let late: Promise<unknown> | undefined
    const ledger = open({
      timeoutMs: NEVER_MS,
      silentMs: (bucket) => (isOf(away, bucket) ? NEVER_MS : 0),
      spoil: (script, bucket, send) =>
        script === 'reserve' && isOf(away, bucket)
          ? ((late = passed.then(send)) as ReturnType<typeof send>)
          : send(),
    })
    const failed = ledger.reserve(streamOf(allowing), Date.now())
    await expect(failed).rejects.toMatchObject({ name: 'PartError', places: [1] })
    const { isBack } = (await failed.catch((error: unknown) => error)) as PartError
    expect(await isBack).toBe(true)
    pass()
    expect(await late).toContain('abandoned')
    expect(await reservedIn(open())).toEqual([0, 0, 0])
  })

  /** Away decides, and is not heard of before `pass`. */
  function openBesideSilent() {
    const { pass, passed } = gate()
    const ledger = open({
      timeoutMs: NEVER_MS,
      silentMs: (bucket) => (isOf(away, bucket) ? NEVER_MS : 0),
      spoil: async (script, bucket, send) => {
        const reply = await send()
        if (script === 'reserve' && isOf(away, bucket)) await passed
        return reply
      },
    })
    return { ledger, pass }
  }

  test('what came there before its call was given up comes back', async () => {
    const { ledger, pass } = openBesideSilent()
    await expect(ledger.reserve(streamOf(allowing), Date.now())).rejects.toThrow(PartError)
    await vi.waitFor(async () => expect(await reservedIn(open())).toEqual([0, 0, 0]))
    pass()
  })

  test.each([
    ['of a quota that denies what it cannot be asked about', streamOf()],
    ['of the rest of a request', { ...streamOf(allowing), isLast: true }],
  ])('a node that is silent is waited for where a part %s is there', async (_, stream) => {
    const { ledger, pass } = openBesideSilent()
    let isOver = false
    const held = ledger.reserve(stream, Date.now()).finally(() => {
      isOver = true
    })
    await vi.waitFor(async () => expect(await reservedIn(open())).toEqual([10, 10, 1]))
    for (let times = 0; times < 5; times += 1) await nextTick()
    expect(isOver).toBe(false)
    pass()
    expect(await held).toMatchObject({ kind: 'held', repeated: false })
  })

  const unsent = () => Promise.reject(new DependencyError('ledger', 'away'))
  const unheard = () => gate<never>().passed
  const inShares = (amount: number, shadow = false): readonly Hold[] =>
    [home, away, third].map((each) => ({
      ...each,
      ...(each === away ? { amount } : {}),
      quota: { ...each.quota, onStoreFailure: 'local' as const, shadow },
    }))
  test.each([
    ['not there', inShares(0), false],
    ['too small', inShares(51), true],
  ])('a node that is silent is waited for where the share is %s', async (_, holds, hasShare) => {
    const { ledger, pass } = openBesideSilent()
    const guarded = overFailure(ledger)
    if (hasShare) await guarded.expire(Date.now())
    let isOver = false
    const held = guarded.reserve(streamOf(holds), Date.now()).finally(() => {
      isOver = true
    })
    await vi.waitFor(async () => expect((await reservedIn(open()))[2]).toBe(1))
    for (let times = 0; times < 10; times += 1) await nextTick()
    expect(isOver).toBe(false)
    pass()
    const answer = await held
    expect(answer).toMatchObject({ kind: 'held', repeated: false })
    expect(answer).not.toHaveProperty('fallback')
  })

  test.each([
    ['has room', inShares(50), true, { localQuotas: ['away'] }],
    ['is that of a shadow quota', inShares(10, true), false, { uncountedQuotas: ['away'] }],
  ])(
    'a node that is silent is done without where the share %s',
    async (_, holds, hasShare, fallback) => {
      const { ledger, pass } = openBesideSilent()
      const guarded = overFailure(ledger)
      if (hasShare) await guarded.expire(Date.now())
      const held = await guarded.reserve(streamOf(holds), Date.now())
      expect(held).toMatchObject({ kind: 'held', fallback })
      pass()
    },
  )

  test.each([
    ['its home, where one is away', home, unsent],
    ['its home, where one hangs', home, unheard],
    ['another, where one is away', third, unsent],
    ['another, where one hangs', third, unheard],
  ])(
    'the rest is not refused, and does not fail, for what the first call holds still at %s',
    async (_, held, atAway) => {
      const { pass, passed } = gate()
      let reserves = 0
      const ledger = open({
        timeoutMs: NEVER_MS,
        silentMs: (bucket) => (isOf(away, bucket) ? NEVER_MS : 0),
        spoil: async (script, bucket, send) => {
          if (isOf(away, bucket)) return atAway()
          if (!isOf(held, bucket)) return send()
          if (script === 'end' && reserves === 1) await passed
          const reply = await send()
          if (script === 'reserve' && (reserves += 1) === 2) pass()
          return reply
        },
      })
      const stream = streamOf(allowing)
      expect(await overFailure(ledger).reserve(stream, Date.now())).toMatchObject(withoutAway)
      expect(reserves).toBe(3)
      await vi.waitFor(async () => expect(await reservedIn(open())).toEqual([10, 0, 1]))
    },
  )

  /** Another process holds the stream on all three; then the node of one part hangs for this one. */
  async function repeatBesideHanging(onJoin: (nth: number) => Promise<void>) {
    const stream = streamOf(allowing)
    const first = await open().reserve(stream, Date.now())
    let joins = 0
    const ledger = open({
      timeoutMs: NEVER_MS,
      silentMs: (bucket) => (isOf(away, bucket) ? NEVER_MS : 0),
      spoil: async (script, bucket, send) => {
        if (!isOf(away, bucket)) return send()
        await (script === 'join' ? onJoin((joins += 1)) : gate().passed)
        return send()
      },
    })
    const repeated = overFailure(ledger).reserve({ ...stream, id: 'repeated' }, Date.now())
    return { first, repeated }
  }

  test('a stream that another process holds is not held beside that while the node of one part hangs', async () => {
    const { repeated } = await repeatBesideHanging((nth) =>
      nth === 1 ? gate().passed : Promise.reject(new DependencyError('ledger', 'no time is left')),
    )
    await expect(repeated).rejects.toThrow(UndecidedError)
    expect(await reservedIn(open())).toEqual([10, 10, 1])
  })

  test('such a stream is repeated where that node is heard of before its time is over', async () => {
    const { first, repeated } = await repeatBesideHanging(async (nth) => {
      if (nth === 1) await gate().passed
      for (let times = 0; times < 10; times += 1) await nextTick()
    })
    expect(await repeated).toMatchObject({
      ...{ kind: 'held', repeated: true },
      reservation: (first as Held<string>).reservation,
    })
  })

  test('what cannot be given back is said not to be back', async () => {
    const ledger = open({
      spoil: (script, bucket, send) =>
        isOf(away, bucket) || (script === 'end' && isOf(third, bucket))
          ? Promise.reject(new DependencyError('ledger', 'away'))
          : send(),
    })
    const failed = await ledger.reserve(streamOf(), Date.now()).catch((error: unknown) => error)
    expect(failed).toBeInstanceOf(PartError)
    expect(await (failed as PartError).isBack).toBe(false)
    expect(await reservedIn(open())).toEqual([0, 0, 1])
  })

  test('all of its time is for the rest', async () => {
    const dues: number[] = []
    const ledger = open({
      timeoutMs: NEVER_MS,
      spoil: (script, bucket, send, dueMs) => {
        if (script === 'reserve') dues.push(dueMs)
        return isOf(away, bucket) ? Promise.reject(new DependencyError('ledger', 'away')) : send()
      },
    })
    const dueMs = performance.now() + NEVER_MS
    await overFailure(ledger, dueMs).reserve(streamOf(allowing), Date.now())
    expect(dues).toHaveLength(5)
    expect(dues.slice(3)).toEqual([dueMs, dueMs])
    expect(dues[0]).toBeLessThan(dueMs)
  })
})

describe('of any store', () => {
  const atMs = Date.parse('2026-02-02T00:00:00Z')
  const [here, gone] = (['deny', 'allow'] as const).map((onStoreFailure) =>
    holdOf(quotaOf({ name: onStoreFailure, onStoreFailure }), 10),
  ) as [Hold, Hold]
  const request: ReserveRequest<string> = {
    ...{ id: 'a', idempotencyKey: 'stream', holds: [here, gone], context: '', leaseMs: 60_000 },
  }
  const short = {
    ...{ kind: 'short', quota: here.quota, retryAfterMs: 1, balances: [] },
  } as unknown as Awaited<ReturnType<Ledger<string>['reserve']>>

  /** One whose first call fails in a part; what it says to the others. */
  function failing(
    isBack: Promise<boolean>,
    rest: (id: string) => ReturnType<Ledger<string>['reserve']> | undefined,
    heldBy?: string,
  ) {
    const memory = createMemoryLedger<string>()
    const asked: string[] = []
    const main: Ledger<string> = {
      ...memory,
      async reserve(given, nowMs) {
        asked.push(given.id)
        if (asked.length === 1) throw new PartError('ledger', 'a node is away', [1], isBack, heldBy)
        return (await rest(given.id)) ?? memory.reserve(given, nowMs)
      },
    }
    return { ledger: overFailure(main), asked }
  }

  test('the rest is held before the first call is back', async () => {
    const { ledger, asked } = failing(gate<boolean>().passed, () => undefined)
    expect(await ledger.reserve(request, atMs)).toMatchObject({
      kind: 'held',
      fallback: { uncountedQuotas: ['allow'] },
    })
    expect(asked).toEqual(['a', 'a-2'])
  })

  test('what it is short by counts when the first call is back, and not before', async () => {
    const { pass, passed } = gate<boolean>()
    const { ledger, asked } = failing(passed, () => Promise.resolve(short))
    const refused = ledger.reserve(request, atMs)
    await nextTick()
    expect(asked).toEqual(['a', 'a-2'])
    pass(true)
    expect(await refused).toBe(short)
    expect(asked).toEqual(['a', 'a-2', 'a-3'])
  })

  test('where the first call cannot be back in time, nothing refuses it but what its quotas say', async () => {
    const { ledger, asked } = failing(Promise.resolve(false), () => Promise.resolve(short))
    expect(await ledger.reserve(request, atMs)).toMatchObject({
      kind: 'unavailable',
      quota: here.quota,
    })
    expect(asked).toEqual(['a', 'a-2', 'a-3'])
  })

  test('what finds an earlier call twice fails, whatever its quotas say', async () => {
    const undecided = () => Promise.reject(new UndecidedError('ledger', 'not done'))
    const { ledger, asked } = failing(Promise.resolve(false), undecided)
    const allowing = { ...here, quota: { ...here.quota, onStoreFailure: 'allow' as const } }
    const failed = ledger.reserve({ ...request, holds: [allowing, gone] }, atMs)
    await expect(failed).rejects.toThrow('not done')
    expect(asked).toEqual(['a', 'a-2', 'a-3'])
  })

  test.each([
    ['fails', () => new DependencyError('ledger', 'no time is left')],
    [
      'fails in a part',
      (back: Promise<boolean>) => new PartError('ledger', 'another is away', [0], back),
    ],
  ])(
    'what finds an earlier call fails, whatever its quotas say, where the next call %s',
    async (_, failure) => {
      const events: string[] = []
      const { pass, passed } = gate()
      const back = passed.then(() => events.push('back') > 0)
      const { ledger, asked } = failing(Promise.resolve(true), (id) =>
        Promise.reject(
          id === 'a-2' ? new UndecidedError('ledger', 'an earlier call') : failure(back),
        ),
      )
      const allowing = { ...here, quota: { ...here.quota, onStoreFailure: 'allow' as const } }
      const failed = ledger
        .reserve({ ...request, holds: [allowing, gone] }, atMs)
        .catch((error: unknown) => events.push(String(error)))
      for (let times = 0; times < 5; times += 1) await nextTick()
      if (failure(back) instanceof PartError) expect(events).toEqual([])
      pass()
      await failed
      expect(events).toContain('UndecidedError: an earlier call')
      expect(asked).toEqual(['a', 'a-2', 'a-3'])
    },
  )

  const away = (heldBy?: string) =>
    new PartError('ledger', 'another is away', [0], Promise.resolve(true), heldBy)
  test.each([
    ['fails', 'b', true, () => Promise.reject(new DependencyError('ledger', 'away'))],
    ['fails in a part', 'b', true, () => Promise.reject(away())],
    ['finds it as well, and fails in a part', undefined, true, () => Promise.reject(away('b'))],
    ['is short, for what may not be back yet', 'b', false, () => Promise.resolve(short)],
  ])(
    'what an earlier call holds is not held beside that, whatever its quotas say, where the next call %s',
    async (_, heldBy, isBack, rest) => {
      const { ledger } = failing(Promise.resolve(isBack), rest, heldBy)
      const allowing = { ...here, quota: { ...here.quota, onStoreFailure: 'allow' as const } }
      const failed = ledger.reserve({ ...request, holds: [allowing, gone] }, atMs)
      await expect(failed).rejects.toThrow(UndecidedError)
    },
  )

  test('what its own first call held and has not given back yet is no earlier call', async () => {
    const { ledger } = failing(Promise.resolve(true), () => Promise.reject(away('a.7')))
    const holds = [here, gone].map((hold) => {
      return { ...hold, quota: { ...hold.quota, onStoreFailure: 'allow' as const } }
    })
    expect(await ledger.reserve({ ...request, holds }, atMs)).toMatchObject({
      kind: 'held',
      fallback: { uncountedQuotas: ['deny', 'allow'] },
    })
  })

  test.each([
    [
      'its quotas say so',
      [{ ...here }, { ...gone, quota: { ...gone.quota, onStoreFailure: 'deny' as const } }],
    ],
    [
      'its share has no room',
      [here, { ...gone, amount: 51, quota: { ...gone.quota, onStoreFailure: 'local' as const } }],
    ],
    ['the rest fails', [here, gone]],
  ])(
    'a request that is refused since %s is told so when the first call is back',
    async (_, holds) => {
      const events: string[] = []
      const { pass, passed } = gate<boolean>()
      const back = passed.then((isBack) => {
        events.push('back')
        return isBack
      })
      const failed = () => Promise.reject(new DependencyError('ledger', 'away'))
      const { ledger } = failing(back, failed)
      await ledger.expire(atMs)
      const refused = ledger
        .reserve({ ...request, holds }, atMs)
        .then(({ kind }) => events.push(kind))
      for (let times = 0; times < 5; times += 1) await nextTick()
      pass(true)
      await refused
      expect(events).toEqual(['back', 'unavailable'])
    },
  )

  test('what the rest held where another part of it fails is waited for as well', async () => {
    const events: string[] = []
    const { pass, passed } = gate<boolean>()
    const back = passed.then((isBack) => {
      events.push('back')
      return isBack
    })
    const another = () => Promise.reject(new PartError('ledger', 'another is away', [0], back))
    const { ledger } = failing(Promise.resolve(true), another)
    const refused = ledger.reserve(request, atMs).then(({ kind }) => events.push(kind))
    for (let times = 0; times < 5; times += 1) await nextTick()
    pass(true)
    await refused
    expect(events).toEqual(['back', 'unavailable'])
  })
})
