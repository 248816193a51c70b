import { describe, expect, test } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { ComingError, DependencyError } from '../../src/errors.js'
import { createFailoverLedger } from '../../src/quota/failover/failover-ledger.js'
import type { Hold } from '../../src/quota/ledger.js'
import { createLedger } from '../../src/quota/ledgers.js'
import { createMemoryLedger } from '../../src/quota/memory/memory-ledger.js'
import { slotOf } from '../../src/store/store.js'
import { startCluster } from '../redis-cluster.js'
import { fewRuns } from '../runs.js'
import { calendar, quotaOf } from './quotas.js'
import { atMs, away, decisionsOf, eventually, hold, home, onSlicedNodes } from './sliced-nodes.js'
import { onThree, requestOf, settled, standing, third, turnsOf } from './sliced-nodes.js'
import type { Process } from './sliced-nodes.js'
import { givesSlices } from './slicing.js'
import { bucketOf, openProcess, tagOf } from './three-nodes.js'
import { makeUnreadable } from './unreadable.js'

// What can only happen where a process that decides from slices tells several nodes of it, each in turns of its own.

const nodes = onSlicedNodes()
const { closeAll, figures, ledgers, open, opened } = nodes

describe('a request with parts on three nodes', () => {
  test('is decided from slices, and each node is told its part, the home last', async () => {
    const [ledger, other] = [await opened(), open()]
    const request = requestOf()
    const id = await hold(ledger, request)
    expect(decisionsOf(ledger)).toBe(0)
    await ledger.expire(atMs)
    const [first, second, last, ...more] = turnsOf(ledger)
    expect([new Set([first, second]), last, more]).toEqual([
      new Set([bucketOf(away), bucketOf(third)]),
      bucketOf(home),
      [],
    ])
    const { context, holds } = request
    expect(await other.find(id, atMs)).toMatchObject({ id, context, holds })
    expect(await other.end(id, settled, atMs)).toMatchObject({ outcome: 'settled' })
    expect(await ledger.end(id, settled, atMs)).toBeUndefined()
    await closeAll()
    expect(await figures()).toEqual(standing(0, 1))
  })

  test('is found nowhere before every part of it can be', async () => {
    const [ledger, other] = [await opened(), open()]
    const id = await hold(ledger)
    ledger.spoilt.lose = ({ script, bucket }) => script === 'turn' && bucket === bucketOf(third)
    await expect(ledger.expire(atMs)).rejects.toThrow('lost')
    await expect(other.find(id, atMs)).rejects.toThrow(ComingError)
    await expect(other.end(id, settled, atMs)).rejects.toThrow(ComingError)
    // A report that comes here waits for it.
    await expect(ledger.end(id, settled, atMs)).rejects.toThrow('lost')
    ledger.spoilt.lose = () => false
    expect(await ledger.end(id, settled, atMs)).toMatchObject({ outcome: 'settled' })
    await closeAll()
    expect(await figures()).toEqual(standing(0, 1))
  })

  test('is given up before any node is told, and costs none of them a script', async () => {
    const ledger = await opened()
    const id = await hold(ledger)
    expect(await ledger.abandon(id, atMs)).toMatchObject({ outcome: 'released' })
    await ledger.expire(atMs)
    expect(turnsOf(ledger)).toEqual([])
    await closeAll()
    expect(await figures()).toEqual(standing(0))
  })

  test('is given up at every node by a process that knows of it by its id alone', async () => {
    const [ledger, other] = [await opened(), open()]
    const id = await hold(ledger)
    await ledger.expire(atMs)
    expect(await other.abandon(id, atMs)).toMatchObject({ outcome: 'released' })
    await closeAll()
    expect(await figures()).toEqual(standing(0))
  })

  test('is left to the lease by a process that dies before its home was told', async () => {
    const dying = await opened()
    await hold(dying, requestOf(onThree, 5000))
    dying.spoilt.lose = ({ script, bucket }) => script === 'turn' && bucket === bucketOf(home)
    await expect(dying.expire(atMs)).rejects.toThrow('lost')
    dying.spoilt.lose = () => true
    const other = open()
    expect(await other.expire(atMs + 5000)).toEqual([])
    const [, atAway, atThird] = await figures(onThree, atMs + 5000)
    expect(atAway?.[0]).toBe(10)
    expect(atThird?.[1]).toBeGreaterThan(0)
    // What its slice, which was taken for one with a lease of a minute, may have admitted in its last moment.
    await other.expire(atMs + 61_000)
    expect((await figures(onThree, atMs + 61_000))[2]).toEqual([0, 0])
    expect((await nodes.group().keys()).filter((key) => key.endsWith(':due'))).toEqual([])
  })

  test('is asked of Redis where one of its partitions has none to give, and the other slices stay', async () => {
    const ledger = await opened()
    const narrow = { ...away, quota: { ...away.quota, limit: 100 } }
    await hold(ledger, requestOf([home, narrow]))
    expect(decisionsOf(ledger)).toBe(2)
    const before = decisionsOf(ledger)
    await hold(ledger, requestOf([home]))
    expect(decisionsOf(ledger)).toBe(before)
  })
})

test('the ledger of a policy with a Cluster takes slices of what its quotas say', async () => {
  const address = nodes.group().address
  const ledger = createLedger<string>(
    { kind: 'redis', address, timeoutMs: 5000, maxPartitions: undefined, processes: 1 },
    { clock: systemClock, random: Math.random, processId: 'a', heapBytes: 2 ** 30 },
  )
  const holds = onThree.map((each) => ({ ...each, quota: { ...each.quota, slices: true } }))
  try {
    const keyOf = (each: Hold): string => `tg2:{${tagOf(each)}}:s:${each.partitionKey}`
    await eventually(async () => {
      // A partition is warm where it was asked for in the last second.
      await ledger.reserve(requestOf(holds), Date.now())
      expect(await nodes.group().keys()).toEqual(expect.arrayContaining(onThree.map(keyOf)))
    })
    const answer = await ledger.reserve(requestOf(holds), Date.now())
    if (answer.kind !== 'held') throw new Error('there is room')
    const { id } = answer.reservation
    await eventually(async () => {
      expect(await open(undefined, false).find(id, Date.now())).toMatchObject({ id })
    })
  } finally {
    await ledger.close()
  }
  expect((await nodes.group().keys()).filter((key) => key.includes(':s:'))).toEqual([])
})

test('a partition that this release cannot read takes the slices of no other node', async () => {
  const [ledger, other] = [await opened(), open()]
  const id = await hold(ledger, requestOf([home, away]))
  const { client } = nodes.group().masterOf(`{${tagOf(away)}}`)
  const key = `tg2:{${tagOf(away)}}:p:${away.partitionKey}`
  const putBack = await makeUnreadable(client, key)
  await ledger.expire(atMs)
  await hold(ledger, requestOf([home]))
  expect(decisionsOf(ledger)).toBe(0)
  await putBack()
  await ledger.expire(atMs)
  expect(await other.find(id, atMs)).toMatchObject({ id })
})

test('nothing is asked of a bucket that there is nothing to tell', async () => {
  const ledger = await opened()
  await hold(ledger, requestOf([away]))
  await ledger.expire(atMs)
  expect(turnsOf(ledger)).toEqual([bucketOf(away)])
  ledger.spoilt.asked.length = 0
  await ledger.expire(atMs)
  expect(turnsOf(ledger)).toEqual([])
})

test('a process that stops gives back what it holds on every node', async () => {
  const ledger = await opened()
  for (let times = 0; times < 9; times += 1) await hold(ledger)
  await closeAll()
  expect(await figures()).toEqual(standing(9))
  expect((await nodes.group().keys()).filter((key) => /:(s:|due$)/.test(key))).toEqual([])
})

test('no node has a key without an end', async () => {
  const ledger = await opened()
  await hold(ledger)
  await ledger.expire(atMs)
  for (const { client } of nodes.group().masters) {
    for (const key of await client.keys('*')) expect(await client.pttl(key)).toBeGreaterThan(0)
  }
})

test.each([
  ['home', 'home'],
  ['elsewhere', 'away'],
])(
  'a refusal waits for the slices of others on the node that has no room: %s',
  async (_at, name) => {
    const there = name === 'home' ? home : away
    const day = quotaOf({ name, limit: 4000, window: calendar('day') })
    const short = { ...there, quota: day, amount: 1000 }
    const [one, other] = [await opened(), open()]
    // 100 of 4000 are in a slice, of which it admits 10.
    await hold(one, requestOf([{ ...short, amount: 10 }]))
    await hold(other, requestOf([{ ...short, amount: 3500 }]))
    await one.expire(atMs)
    const holds = [home, away].map((each) => (each === there ? { ...short, amount: 480 } : each))
    const refused = await other.reserve(requestOf(holds), atMs)
    expect(refused).toMatchObject({ kind: 'short', quota: day, retryAfterMs: 2500 })
    const looks = other.spoilt.asked.filter(({ script }) => script === 'slices')
    expect(looks).toEqual([{ script: 'slices', bucket: bucketOf(there) }])
  },
)

describe('a node that hangs', () => {
  test('holds up no turn of another', async () => {
    const ledger = open(undefined)
    const at = (): number => Date.now()
    await hold(ledger, requestOf(), at())
    const hung = nodes.group().masterOf(`{${tagOf(away)}}`)
    hung.pause()
    try {
      const stuck = await hold(ledger, requestOf([away]), at())
      const id = await hold(ledger, requestOf([home, third]), at())
      await eventually(async () => {
        expect(await open(undefined, false).find(id, at())).toBeDefined()
      })
      expect(await ledger.end(id, settled, at())).toMatchObject({ outcome: 'settled' })
      hung.resume()
      await eventually(async () => {
        expect(await open(undefined, false).find(stuck, at())).toBeDefined()
      })
    } finally {
      hung.resume()
    }
  })
})

test('a node that hangs leaves the quotas of the others counted, where there were no slices yet', async () => {
  const timeoutMs = 800
  const main = open(undefined, true, timeoutMs)
  const local = {
    ledger: createMemoryLedger<string>(),
    processes: { census: () => Promise.reject(new DependencyError('ledger', 'not asked')) },
    atLeast: 1,
    dueMonotonicMs: () => systemClock.monotonicMs() + timeoutMs,
  }
  const guarded = createFailoverLedger({ main, local })
  const holds = onThree.map((each) => {
    return { ...each, quota: { ...each.quota, onStoreFailure: 'allow' as const } }
  })
  await eventually(() => main.balances(holds, Date.now()))
  const hung = nodes.group().masterOf(`{${tagOf(away)}}`)
  hung.pause()
  try {
    expect(await guarded.reserve(requestOf(holds), Date.now())).toMatchObject({
      kind: 'held',
      fallback: { why: 'store', localQuotas: [], uncountedQuotas: [away.quota.name] },
    })
  } finally {
    hung.resume()
  }
})

test('no slice of a node that is silent is waited for', async () => {
  let turn = (): void => undefined
  const turned = new Promise<void>((resolve) => {
    turn = resolve
  })
  const asked: string[] = []
  const ledger = openProcess(nodes.group(), {
    moments: 'given',
    // Beyond that of the test: only what is silent is not waited for.
    timeoutMs: 300_000,
    silentMs: (bucket) => (bucket === bucketOf(away) ? Infinity : 0),
    tuning: { isSliced: () => true, warmMs: Infinity },
    spoil: async (script, bucket, send) => {
      asked.push(`${script} ${String(bucket)}`)
      if (script === 'turn' && bucket === bucketOf(away)) await turned
      return send()
    },
  })
  ledgers.push(ledger)
  // It may do without that node, too.
  const answered = Promise.allSettled([ledger.reserve(requestOf(), atMs)])
  await eventually(() => {
    expect(asked).toContain(`turn ${String(bucketOf(away))}`)
    expect(asked).toContain(`reserve ${String(bucketOf(home))}`)
  })
  turn()
  await answered
})

test('a node that hangs keeps its slices where another says what is short', async () => {
  const ledger = await opened('given', true, 500)
  const hung = nodes.group().masterOf(`{${tagOf(away)}}`)
  hung.pause()
  try {
    const tooMuch = requestOf([{ ...home, amount: 100_001 }, away])
    expect(await ledger.reserve(tooMuch, atMs)).toMatchObject({ kind: 'short', quota: home.quota })
    const before = decisionsOf(ledger)
    await hold(ledger, requestOf([away]))
    expect(decisionsOf(ledger)).toBe(before)
  } finally {
    hung.resume()
  }
})

test('a node that is told nothing has 1000 requests wait for it, and keeps no other from being decided', async () => {
  const ledger = await opened()
  ledger.spoilt.lose = ({ script, bucket }) => script === 'turn' && bucket === bucketOf(away)
  const waiting = requestOf([{ ...away, amount: 0 }])
  for (let at = 0; at < 1000; at += 1) {
    const id = `${waiting.id}-${String(at)}`
    await hold(ledger, { ...waiting, id, idempotencyKey: id })
  }
  expect(decisionsOf(ledger)).toBe(0)
  await hold(ledger, requestOf([away]))
  expect(decisionsOf(ledger)).toBe(1)
  await hold(ledger, requestOf([home]))
  expect(decisionsOf(ledger)).toBe(1)
  ledger.spoilt.lose = () => false
})

test('4000 requests at most wait to be told, whichever their buckets', async () => {
  const inBuckets = new Map<number, Hold>()
  for (let at = 0; inBuckets.size < 5; at += 1) {
    const one = { ...third, partitionKey: `${third.partitionKey} ${String(at)}`, amount: 0 }
    if (!inBuckets.has(bucketOf(one))) inBuckets.set(bucketOf(one), one)
  }
  const [last, ...full] = [...inBuckets.values()] as [Hold, ...Hold[]]
  const ledger = open()
  for (const one of inBuckets.values()) await hold(ledger, requestOf([{ ...one, amount: 1 }]))
  await ledger.expire(atMs)
  ledger.spoilt.asked.length = 0
  ledger.spoilt.lose = ({ script }) => script === 'turn'
  for (const one of full) {
    for (let at = 0; at < 1000; at += 1) await hold(ledger, requestOf([one]))
  }
  expect(decisionsOf(ledger)).toBe(0)
  await hold(ledger, requestOf([last]))
  expect(decisionsOf(ledger)).toBe(1)
  ledger.spoilt.lose = () => false
})

test('a slot that is moved has what was decided meanwhile told at its new node', async () => {
  const ledger = await opened()
  const tag = `{${tagOf(away)}}`
  const from = nodes.group().masterOf(tag)
  const to = nodes.group().masters.find((master) => master !== from) ?? from
  await nodes.group().openMove(slotOf(tag), from, to)
  const ids = [await hold(ledger), await hold(ledger)]
  await expect(ledger.expire(atMs)).rejects.toThrow(DependencyError)
  await nodes.group().moveKeys(slotOf(tag), from, to, 2)
  await expect(ledger.expire(atMs)).rejects.toThrow(DependencyError)
  await hold(ledger, requestOf([home]))
  while ((await nodes.group().moveKeys(slotOf(tag), from, to, 100)) > 0);
  await nodes.group().closeMove(slotOf(tag), from, to)
  const other = open()
  for (const id of ids) {
    const ended = await eventually(async () => ledger.end(id, settled, atMs))
    expect(ended).toMatchObject({ outcome: 'settled' })
    expect(await other.end(id, settled, atMs)).toBeUndefined()
  }
  await closeAll()
  const [atHome, ...rest] = standing(0, 2)
  expect(await figures()).toEqual([[atHome?.[0], 10], ...rest])
})

test('a replica that takes over is told what was decided meanwhile', async () => {
  const replicated = await startCluster({ replicated: true })
  try {
    const ledger = openProcess(replicated, {
      ...{ moments: 'given', timeoutMs: 5000, tuning: { isSliced: () => true, warmMs: Infinity } },
    })
    ledgers.push(ledger)
    await hold(ledger)
    await ledger.expire(atMs)
    const master = replicated.masterOf(`{${tagOf(away)}}`)
    // WAIT waits for what its own connection has written, and for what came before that.
    await master.client.set(`{${tagOf(away)}}written`, '')
    expect(await master.client.wait(1, 10_000)).toBe(1)
    await master.kill()
    const ids = [await hold(ledger), await hold(ledger, requestOf([home]))]
    const plain = openProcess(replicated, { moments: 'given' })
    ledgers.push(plain)
    for (const id of ids) {
      const ended = await eventually(() => ledger.end(id, settled, atMs))
      expect(ended).toMatchObject({ outcome: 'settled' })
    }
    await eventually(() => ledger.balances(onThree, atMs))
    const balances = await eventually(() => plain.balances(onThree, atMs))
    expect(balances.map(({ spent, reserved }) => [spent, reserved])).toEqual([
      [8, 10],
      [4, 10],
      [0, 1],
    ])
  } finally {
    await closeAll()
    await replicated.stop()
  }
})

test('a process that dies takes at most a tenth of a limit along that all tenants share', async () => {
  const [attempts, limit, amount, lanesEach] = [1000, 1000, 4, 4]
  const shared = { ...home, amount, quota: { ...home.quota, limit } }
  const tenants = [away, third].map((hold) => {
    return { ...hold, amount: 1, quota: { ...hold.quota, limit: 10 * limit } }
  })
  for (let run = 0; run < fewRuns;) {
    await nodes.group().flush()
    const processes = Array.from({ length: 4 }, () => open(undefined))
    const [dying] = processes
    let admitted = 0
    let next = 0
    let dead = false
    let die = (): void => undefined
    const died = new Promise<undefined>((resolve) => {
      die = () => {
        dead = true
        if (dying !== undefined) dying.spoilt.lose = () => true
        resolve(undefined)
      }
    })
    if (dying !== undefined) {
      // It has just been given a slice, which nothing was admitted from yet.
      dying.spoilt.onAnswered = ({ script, bucket }, reply) => {
        if (script === 'turn' && bucket === bucketOf(shared) && givesSlices(reply)) die()
      }
    }
    const ask = async (ledger: Process): Promise<void> => {
      while (next < attempts) {
        const holds = [shared, tenants[(next += 1) % 2] ?? shared]
        const answered = ledger.reserve(requestOf(holds), Date.now())
        if (ledger === dying) answered.catch(() => undefined)
        const answer = await (ledger === dying ? Promise.race([died, answered]) : answered)
        if (answer === undefined) return
        if (answer.kind === 'held') admitted += amount
      }
    }
    const lanes = Array.from({ length: lanesEach }, () => processes.map(ask))
    await Promise.all(lanes.flat())
    await closeAll()
    // The others had all that may be in slices at once: it says nothing.
    if (!dead) continue
    run += 1
    const decisions = processes.reduce((sum, ledger) => sum + decisionsOf(ledger), 0) / 2
    process.stdout.write(
      `slices on three nodes: ${String(admitted)} of ${String(limit)} admitted, one of four processes killed; Redis decided ${String(decisions)} of ${String(next)}\n`,
    )
    expect(decisions).toBeLessThan(next)
    expect(admitted).toBeLessThan(limit)
    // One slice, a fortieth of what is free, and what it was asking for: less than the tenth that all may be.
    expect(limit - admitted).toBeLessThanOrEqual(limit / 40 + lanesEach * amount)
  }
})
