import { describe, expect, test } from 'vitest'
import { DependencyError, UndecidedError } from '../../src/errors.js'
import type { End, Held, Hold, Ledger } from '../../src/quota/ledger.js'
import { storedReservation } from '../../src/quota/redis/stored-keys.js'
import { UnansweredError } from '../../src/store/store.js'
import type { Reply } from '../../src/store/store.js'
import { onEmptyCluster } from './on-redis.js'
import {
  away,
  bucketOf,
  home,
  openProcess,
  reservedIn,
  streamOf,
  tagOf,
  third,
} from './three-nodes.js'
import type { Spoil } from './three-nodes.js'

// Who carries a reservation that has parts on three nodes, where answers are lost between them.

const on = onEmptyCluster()

function open(spoil?: Spoil): Ledger<string> {
  const ledger = openProcess(on.group, { spoil })
  on.ledgers.push(ledger)
  return ledger
}

const WHOLE = [10, 10, 1]
const NOTHING = [0, 0, 0]
const settled: End = { kind: 'settled', inputTokens: 4, outputTokens: 0 }

const reserved = (): Promise<readonly number[]> => reservedIn(open())

/** A moment that one side waits for and the other makes. */
function gate() {
  let pass = (): void => undefined
  const passed = new Promise<void>((resolve) => {
    pass = resolve
  })
  return {
    pass: () => {
      pass()
    },
    passed,
  }
}

async function hold(
  ledger: Ledger<string>,
  stream: ReturnType<typeof streamOf>,
): Promise<Held<string>> {
  const answer = await ledger.reserve(stream, Date.now())
  if (answer.kind !== 'held') throw new Error(`${answer.quota.name} is short`)
  return answer
}

/** What was to be given back and could not be. */
async function giveBack(...processes: readonly Ledger<string>[]): Promise<void> {
  for (const ledger of processes) await ledger.expire(Date.now())
}

const lost = (): Promise<never> => Promise.reject(new UnansweredError('the answer is lost'))

/** A first call that runs at each of these nodes; its answer from one is lost once something else has happened. */
function losing(at: Hold, everywhere: readonly Hold[] = [home, away, third]) {
  const [ran, goOn] = [gate(), gate()]
  const missing = new Set(everywhere.map(bucketOf))
  const spoil: Spoil = async (script, bucket, send) => {
    const reply = await send()
    if (script !== 'reserve' || !missing.delete(bucket)) return reply
    if (missing.size === 0) ran.pass()
    if (bucket !== bucketOf(at)) return reply
    await goOn.passed
    return lost()
  }
  return { spoil, ran: ran.passed, goOn: goOn.pass }
}

describe.each([
  ['at home', home],
  ['elsewhere', away],
])('a call whose answer is lost %s', (_, at) => {
  test.each(['another process', 'the same one'])(
    'keeps what a repeat in %s passed by',
    async (which) => {
      const { spoil, ran, goOn } = losing(at)
      const one = open(spoil)
      const other = which === 'another process' ? open() : one
      const stream = streamOf()
      const first = one.reserve(stream, Date.now())
      await ran
      const second = await hold(other, { ...stream, id: 'another' })
      expect(second).toMatchObject({ repeated: true, reservation: { context: stream.context } })
      goOn()
      await expect(first).rejects.toThrow(DependencyError)
      await giveBack(one, other)
      expect(await reserved()).toEqual(WHOLE)
      const { id } = second.reservation
      expect(await other.end(id, settled, Date.now())).toMatchObject({ outcome: 'settled' })
      expect(await reserved()).toEqual(NOTHING)
    },
  )

  test('leaves nothing when the answer of the repeat reached nobody either', async () => {
    const { spoil, ran, goOn } = losing(at)
    const [one, other] = [open(spoil), open()]
    const stream = streamOf()
    const first = one.reserve(stream, Date.now())
    await ran
    const { reservation, carrier } = await hold(other, { ...stream, id: 'another' })
    expect(await other.abandon(reservation.id, Date.now(), carrier)).toBeUndefined()
    expect(await reserved()).toEqual(WHOLE)
    goOn()
    await expect(first).rejects.toThrow(DependencyError)
    await giveBack(one)
    expect(await reserved()).toEqual(NOTHING)
  })

  test('leaves nothing when nobody repeats it, and what was answered is back at once', async () => {
    const ledger = open((script, bucket, send) =>
      bucket === bucketOf(at) && script !== 'balances' && script !== 'expire'
        ? send().then(lost)
        : send(),
    )
    await expect(ledger.reserve(streamOf(), Date.now())).rejects.toMatchObject({
      places: [at === home ? 0 : 1],
    })
    expect((await reserved())[2]).toBe(0)
    await giveBack(ledger).catch(() => undefined)
    expect(await reserved()).toEqual(NOTHING)
  })

  test('holds nothing when it runs after it was given up', async () => {
    const late: (() => Promise<Reply>)[] = []
    const ledger = open((script, bucket, send) => {
      if (script !== 'reserve' || bucket !== bucketOf(at)) return send()
      late.push(send)
      return lost()
    })
    await expect(ledger.reserve(streamOf(), Date.now())).rejects.toThrow(DependencyError)
    await giveBack(ledger)
    expect((await late[0]?.())?.[0]).toBe('abandoned')
    expect(await reserved()).toEqual(NOTHING)
  })
})

describe('a repeat that passes to nobody', () => {
  test('keeps nothing of a first call that was never whole', async () => {
    const { spoil, ran, goOn } = losing(home, [home, third])
    const one = open((script, bucket, send, dueMs) =>
      script === 'reserve' && bucket === bucketOf(away)
        ? Promise.reject(new DependencyError('ledger', 'not sent'))
        : spoil(script, bucket, send, dueMs),
    )
    const other = open()
    const stream = streamOf()
    const first = one.reserve(stream, Date.now())
    await ran
    await expect(other.reserve({ ...stream, id: 'another' }, Date.now())).rejects.toThrow(
      UndecidedError,
    )
    goOn()
    await expect(first).rejects.toThrow(DependencyError)
    await giveBack(one)
    expect(await reserved()).toEqual(NOTHING)
  })

  test.each([
    ['its home', 'reserve', home],
    ['another part', 'join', away],
  ])(
    'since the answer of %s is lost keeps nothing when the first is given up',
    async (_, script, at) => {
      const [one, other] = [
        open(),
        open((name, bucket, send) =>
          name === script && bucket === bucketOf(at) ? send().then(lost) : send(),
        ),
      ]
      const stream = streamOf()
      const { reservation } = await hold(one, stream)
      await expect(other.reserve({ ...stream, id: 'another' }, Date.now())).rejects.toThrow(
        DependencyError,
      )
      await giveBack(other)
      expect(await reserved()).toEqual(WHOLE)
      expect(await one.abandon(reservation.id, Date.now())).toMatchObject({ outcome: 'released' })
      expect(await reserved()).toEqual(NOTHING)
    },
  )

  test.each([
    ['at home', 'reserve', home],
    ['elsewhere', 'join', away],
  ])('carries nothing when it runs %s after it was given up', async (_, script, at) => {
    const late: (() => Promise<Reply>)[] = []
    const [one, other] = [
      open(),
      open((name, bucket, send) => {
        if (name !== script || bucket !== bucketOf(at)) return send()
        late.push(send)
        return lost()
      }),
    ]
    const stream = streamOf()
    const { reservation } = await hold(one, stream)
    await expect(other.reserve({ ...stream, id: 'another' }, Date.now())).rejects.toThrow(
      DependencyError,
    )
    await giveBack(other)
    expect((await late[0]?.())?.[0]).toBe(script === 'join' ? 'unknown' : 'abandoned')
    await one.abandon(reservation.id, Date.now())
    expect(await reserved()).toEqual(NOTHING)
  })

  test('since a node is away is answered by its own process, and carries nothing in the store', async () => {
    let isAway = false
    const ledger = open((_, bucket, send) =>
      isAway && bucket === bucketOf(away)
        ? Promise.reject(new DependencyError('ledger', 'away'))
        : send(),
    )
    const stream = streamOf()
    const { reservation } = await hold(ledger, stream)
    isAway = true
    await expect(ledger.reserve({ ...stream, id: 'another' }, Date.now())).rejects.toMatchObject({
      name: 'PartError',
      places: [1],
      heldBy: reservation.id,
    })
    isAway = false
    expect(await ledger.abandon(reservation.id, Date.now())).toMatchObject({ outcome: 'released' })
    expect(await reserved()).toEqual(NOTHING)
  })
})

test('a part that cannot be given back so far keeps no other from that', async () => {
  const ledger = open((script, bucket, send) =>
    script === 'end' && bucket === bucketOf(home) ? lost() : send(),
  )
  const stream = streamOf([home, { ...away, amount: 101 }, third])
  expect(await ledger.reserve(stream, Date.now())).toMatchObject({ kind: 'short' })
  expect(await reserved()).toEqual([10, 0, 0])
})

test('a call that is new to its home is refused whatever may hold the room', async () => {
  const ledger = open((_, bucket, send) =>
    bucket === bucketOf(third) ? Promise.reject(new DependencyError('ledger', 'away')) : send(),
  )
  await hold(open(), streamOf([home, { ...away, amount: 60 }]))
  const stream = streamOf([home, { ...away, amount: 60 }, third])
  expect(await ledger.reserve(stream, Date.now())).toMatchObject({
    kind: 'short',
    quota: { name: 'away' },
  })
})

test('a repeat that passed is given up everywhere without asking what it was', async () => {
  const one = open()
  const other = open((script, _, send) => (script === 'find' ? lost() : send()))
  const stream = streamOf()
  const { id } = (await hold(one, stream)).reservation
  const { carrier } = await hold(other, { ...stream, id: 'another' })
  expect(await one.abandon(id, Date.now())).toBeUndefined()
  expect(await other.abandon(id, Date.now(), carrier)).toMatchObject({ outcome: 'released' })
  expect(await reserved()).toEqual(NOTHING)
})

describe('a repeat whose home does not answer', () => {
  const withoutHome = () =>
    open((_, bucket, send) =>
      bucket === bucketOf(home) ? Promise.reject(new DependencyError('ledger', 'away')) : send(),
    )
  const last = { ...third, quota: { ...third.quota, limit: 1 } }

  test('is not refused for what its own first call may hold', async () => {
    const stream = streamOf([home, last])
    await hold(open(), stream)
    const again = withoutHome().reserve({ ...stream, id: 'another' }, Date.now())
    await expect(again).rejects.toThrow(
      'an earlier call with the same key may be what leaves no room',
    )
    await expect(again).rejects.toBeInstanceOf(UndecidedError)
  })

  test('is left to its own process, which knows the answer to its first call', async () => {
    let isAway = false
    const ledger = open((_, bucket, send) =>
      isAway && bucket === bucketOf(home)
        ? Promise.reject(new DependencyError('ledger', 'away'))
        : send(),
    )
    const stream = streamOf([home, last])
    await hold(ledger, stream)
    isAway = true
    const again = ledger.reserve({ ...stream, id: 'another' }, Date.now())
    await expect(again).rejects.toMatchObject({ name: 'PartError', places: [0] })
  })

  test('is refused where no call of its own can be what leaves no room', async () => {
    const stream = streamOf([home, { ...away, amount: 60 }])
    await hold(open(), streamOf([home, { ...away, amount: 50 }]))
    expect(await withoutHome().reserve(stream, Date.now())).toMatchObject({
      kind: 'short',
      quota: { name: 'away' },
    })
  })
})

test.each(['after', 'before'] as const)(
  'a call that was given up carries nothing, though what it held itself is given back %s a late join of it',
  async (when) => {
    const first = open()
    const stream = streamOf()
    const { id } = (await hold(first, stream)).reservation
    const [ends, joins]: [(() => Promise<Reply>)[], (() => Promise<Reply>)[]] = [[], []]
    const second = open((script, bucket, send) => {
      if (bucket !== bucketOf(third)) return send()
      // What it held itself, before it was told of the first.
      if (script === 'end' && ends.push(send) === 1) return lost()
      return script === 'join' && joins.push(send) === 1 ? lost() : send()
    })
    const again = second.reserve({ ...stream, id: `${stream.id}-again` }, Date.now())
    await expect(again).rejects.toThrow(DependencyError)
    expect([ends.length, joins.length]).toEqual([2, 1])
    if (when === 'before') expect((await ends[0]?.())?.[0]).toBe('ended')
    expect((await joins[0]?.())?.[0]).toBe('unknown')
    await giveBack(second)
    expect(await reserved()).toEqual(WHOLE)
    expect(await first.abandon(id, Date.now())).toMatchObject({ outcome: 'released' })
    expect(await reserved()).toEqual(NOTHING)
  },
)

test('what ended at home is not given back elsewhere, where its report has not come yet', async () => {
  let isAway = true
  const ledger = open((script, bucket, send) =>
    isAway && script === 'end' && bucket === bucketOf(away)
      ? Promise.reject(new DependencyError('ledger', 'away'))
      : send(),
  )
  const { id } = (await hold(ledger, streamOf())).reservation
  const tries = {}
  await expect(ledger.end(id, settled, Date.now(), tries)).rejects.toThrow('away')
  isAway = false
  expect(await ledger.abandon(id, Date.now())).toBeUndefined()
  expect(await reserved()).toEqual([0, 10, 0])
  expect(await ledger.end(id, settled, Date.now(), tries)).toMatchObject({ outcome: 'settled' })
  expect((await open().balances([away], Date.now()))[0]).toMatchObject({ spent: 4, reserved: 0 })
})

describe('what was given back at home while another node failed', () => {
  /** Once for each of these ends that its node does not get. */
  function failing(times: number) {
    let left = times
    return open((script, bucket, send) => {
      if (script !== 'end' || bucket !== bucketOf(away) || left === 0) return send()
      left -= 1
      return Promise.reject(new DependencyError('ledger', 'away'))
    })
  }

  test('is told by the retry that gives back the rest, once', async () => {
    const ledger = failing(2)
    const { id } = (await hold(ledger, streamOf())).reservation
    await expect(ledger.abandon(id, Date.now())).rejects.toThrow('away')
    await expect(ledger.expire(Date.now())).rejects.toThrow('away')
    expect(await reserved()).toEqual([0, 10, 0])
    expect(await ledger.expire(Date.now())).toMatchObject([
      { outcome: 'released', reservation: { id } },
    ])
    expect(await reserved()).toEqual(NOTHING)
    expect(await ledger.expire(Date.now())).toEqual([])
  })

  test('is told to a caller who gives it up again', async () => {
    const ledger = failing(1)
    const { id } = (await hold(ledger, streamOf())).reservation
    await expect(ledger.abandon(id, Date.now())).rejects.toThrow('away')
    expect(await ledger.abandon(id, Date.now())).toMatchObject({ outcome: 'released' })
    expect(await reserved()).toEqual(NOTHING)
    expect(await ledger.expire(Date.now())).toEqual([])
  })
})

/** As a release of before wrote it when it repeated a reservation: at its home alone, and not by whom. */
async function repeatAsBefore(id: string): Promise<void> {
  const key = storedReservation(id, tagOf(home))
  const script = `local reservation = cmsgpack.unpack(redis.call('GET', KEYS[1]))
    reservation.repeated = true
    redis.call('SET', KEYS[1], cmsgpack.pack(reservation), 'KEEPTTL')`
  await on.group.masterOf(key).client.eval(script, 1, key)
}

test('what an answer of an older release may carry stays whole until its report', async () => {
  const [one, other] = [open(), open()]
  const stream = streamOf()
  const { id } = (await hold(one, stream)).reservation
  await repeatAsBefore(id)
  const { carrier } = await hold(other, { ...stream, id: 'another' })
  for (const [ledger, which] of [
    [one, id],
    [other, carrier],
  ] as const) {
    expect(await ledger.abandon(id, Date.now(), which)).toBeUndefined()
    expect(await reserved()).toEqual(WHOLE)
  }
  expect(await open().end(id, settled, Date.now())).toMatchObject({ outcome: 'settled' })
})

test('what could not be asked for when it was given up is given up once, though another answer carries it', async () => {
  let isAway = true
  const asked: string[] = []
  const other = open((script, _, send) => {
    asked.push(script)
    if (isAway && script === 'find') return lost()
    return send()
  })
  const stream = streamOf()
  const { reservation } = await hold(open(), stream)
  const repeat = await hold(open(), { ...stream, id: `${stream.id}-again` })
  const { id } = reservation
  await expect(other.abandon(id, Date.now(), repeat.carrier)).rejects.toThrow(DependencyError)

  isAway = false
  await giveBack(other)
  expect(asked.filter((script) => script === 'end').length).toBe(3)
  asked.length = 0
  await giveBack(other)
  expect(asked.filter((script) => script !== 'expire')).toEqual([])
  expect(await reserved()).toEqual(WHOLE)
})
