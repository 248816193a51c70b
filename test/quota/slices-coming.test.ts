import { expect, test } from 'vitest'
import { ComingError } from '../../src/errors.js'
import { slotOf } from '../../src/store/store.js'
import { atMs, away, eventually, hold, home, onSlicedNodes, onThree } from './sliced-nodes.js'
import { requestOf, settled, standing, third } from './sliced-nodes.js'
import type { Process, Told } from './sliced-nodes.js'
import { bucketOf, tagOf } from './three-nodes.js'
import { makeUnreadable } from './unreadable.js'

// What was decided from slices, and is not told at its home since another of its nodes is away: its home knows that it
// comes, as long as the process lives that decided it.

const { closeAll, figures, group, open, opened, pass } = onSlicedNodes()

const LEASE_MS = 3_600_000
const isAway = ({ script, bucket }: Told): boolean => script === 'turn' && bucket === bucketOf(away)

const marksOf = ({ spoilt }: Process): number[] =>
  spoilt.asked.filter(({ script }) => script === 'coming').map(({ bucket }) => bucket)
const marks = async (): Promise<readonly string[]> =>
  (await group().keys()).filter((key) => key.includes(':c:'))

/** One node hears nothing of what it decides, until `heal`. */
async function stuck(holds = onThree, leaseMs = LEASE_MS) {
  const ledger = await opened()
  const id = await hold(ledger, requestOf(holds, leaseMs))
  ledger.spoilt.lose = isAway
  await expect(ledger.expire(atMs)).rejects.toThrow('lost')
  await eventually(async () => {
    expect(await marks()).toHaveLength(1)
  })
  const heal = async (): Promise<void> => {
    ledger.spoilt.lose = () => false
    await ledger.expire(atMs)
  }
  return { ledger, id, heal }
}

async function expectComing(other: Process, id: string): Promise<void> {
  await expect(other.find(id, atMs)).rejects.toThrow(ComingError)
  await expect(other.end(id, settled, atMs)).rejects.toThrow(ComingError)
}

test('its report is told that it comes, wherever that is, and ends it once when it is there', async () => {
  const { id, heal } = await stuck()
  const [one, plain] = [open(), open('given', false)]
  for (const each of [one, plain]) await expectComing(each, id)
  await heal()
  expect(await plain.end(id, settled, atMs)).toMatchObject({ outcome: 'settled' })
  expect(await one.end(id, settled, atMs)).toBeUndefined()
  await closeAll()
  expect(await figures()).toEqual(standing(0, 1))
})

test('it is marked in the bucket of its home, by a key that is gone after ten seconds', async () => {
  const { ledger, id } = await stuck()
  expect(marksOf(ledger)).toEqual([bucketOf(home)])
  const [mark = ''] = await marks()
  expect(mark).toMatch(new RegExp(`^tg2:\\{${tagOf(home)}\\}:c:[\\w-]{22}$`))
  const leftMs = await group().masterOf(mark).client.pttl(mark)
  expect(leftMs).toBeLessThanOrEqual(10_000)
  // The process says no more of it.
  await pass(10_000)
  const other = open()
  expect(await other.find(id, atMs)).toBeUndefined()
  expect(await other.end(id, settled, atMs)).toBeUndefined()
})

test('it is marked again after three seconds, as long as it is not told', async () => {
  const { ledger, heal } = await stuck()
  const upkeep = () => expect(ledger.expire(atMs)).rejects.toThrow('lost')
  await upkeep()
  expect(marksOf(ledger)).toHaveLength(1)
  ledger.ahead.ms += 3000
  await pass(3000)
  await eventually(async () => {
    // One that finds no answer in time is made in the next round.
    await upkeep()
    const [mark = ''] = await marks()
    expect(await group().masterOf(mark).client.pttl(mark)).toBeGreaterThan(8000)
  })
  await heal()
  const { length } = marksOf(ledger)
  ledger.ahead.ms += 3000
  await hold(ledger)
  await ledger.expire(atMs)
  expect(marksOf(ledger)).toHaveLength(length)
})

test('it is marked while the turn that tells of it has no answer', async () => {
  const ledger = await opened()
  const id = await hold(ledger)
  let answer = (): void => undefined
  const answered = new Promise<void>((resolve) => (answer = resolve))
  ledger.spoilt.onAsked = (told) => (isAway(told) ? answered : Promise.resolve())
  const first = ledger.expire(atMs)
  await eventually(() => {
    expect(ledger.spoilt.asked.some(isAway)).toBe(true)
  })
  const second = ledger.expire(atMs)
  ledger.ahead.ms += 500
  expect(marksOf(ledger)).toEqual([])
  const third = ledger.expire(atMs)
  try {
    await eventually(() => expectComing(open(), id))
  } finally {
    answer()
  }
  await Promise.all([first, second, third])
  expect(await open().find(id, atMs)).toMatchObject({ id })
})

test('it is marked while upkeep waits for that turn too, and so is what is decided meanwhile', async () => {
  const ledger = await opened()
  const ids = [await hold(ledger)]
  let answer = (): void => undefined
  const answered = new Promise<void>((resolve) => (answer = resolve))
  ledger.spoilt.onAsked = (told) => (isAway(told) ? answered : Promise.resolve())
  const upkeep = ledger.expire(atMs)
  try {
    await eventually(() => expectComing(open(), ids[0] ?? ''))
    ids.push(await hold(ledger))
    await eventually(() => expectComing(open(), ids[1] ?? ''))
  } finally {
    answer()
  }
  await upkeep
  await ledger.expire(atMs)
  for (const id of ids) expect(await open().find(id, atMs)).toMatchObject({ id })
})

test('it is marked where a node has a partition of it that this release cannot read', async () => {
  const ledger = await opened()
  let goOn = (): void => undefined
  const isUnreadable = new Promise<void>((resolve) => (goOn = resolve))
  ledger.spoilt.onAsked = () => isUnreadable
  const id = await hold(ledger, requestOf([home, away]))
  const { client } = group().masterOf(`{${tagOf(away)}}`)
  const key = `tg2:{${tagOf(away)}}:p:${away.partitionKey}`
  const putBack = await makeUnreadable(client, key)
  goOn()
  await ledger.expire(atMs)
  await eventually(() => expectComing(open(), id))
  await putBack()
  await ledger.expire(atMs)
  expect(await open().end(id, settled, atMs)).toMatchObject({ outcome: 'settled' })
})

test('it is no longer marked when no report would settle it any more', async () => {
  const { ledger } = await stuck(onThree, 5000)
  ledger.ahead.ms += 3000
  await expect(ledger.expire(atMs + 9999)).rejects.toThrow('lost')
  expect(marksOf(ledger)).toHaveLength(2)
  ledger.ahead.ms += 3000
  await expect(ledger.expire(atMs + 10_000)).rejects.toThrow('lost')
  expect(marksOf(ledger)).toHaveLength(2)
})

test('what is given up by another process meanwhile is given back when it comes', async () => {
  const { id, heal } = await stuck()
  expect(await open().abandon(id, atMs)).toBeUndefined()
  await heal()
  expect(await open().find(id, atMs)).toBeUndefined()
  await closeAll()
  expect(await figures()).toEqual(standing(0))
})

test('nothing is marked that its nodes are told of, nor what has no part at the node that is away', async () => {
  const ledger = await opened()
  await hold(ledger)
  await ledger.expire(atMs)
  expect(marksOf(ledger)).toEqual([])
  await hold(ledger, requestOf([away]))
  ledger.spoilt.lose = isAway
  const there = await hold(ledger, requestOf([home, third]))
  await expect(ledger.expire(atMs)).rejects.toThrow('lost')
  expect(await open().find(there, atMs)).toMatchObject({ id: there })
  // Of the other its home is away, as a report finds.
  expect(marksOf(ledger)).toEqual([])
})

test('a hundred are marked by one call, each under its own id', async () => {
  const ledger = await opened()
  ledger.spoilt.lose = (told) => isAway(told) || told.script === 'coming'
  const none = onThree.map((each) => ({ ...each, amount: 0 }))
  const ids: string[] = []
  for (let at = 0; at < 250; at += 1) ids.push(await hold(ledger, requestOf(none, LEASE_MS)))
  await expect(ledger.expire(atMs)).rejects.toThrow('lost')
  ledger.spoilt.lose = isAway
  ledger.spoilt.asked.length = 0
  await expect(ledger.expire(atMs)).rejects.toThrow('lost')
  await eventually(async () => {
    expect(await marks()).toHaveLength(250)
  })
  expect(marksOf(ledger)).toHaveLength(3)
  for (const id of [ids[0], ids[249]]) await expectComing(open(), id ?? '')
})

test('what a home that is away was not told of is marked when that answers', async () => {
  const ledger = await opened()
  const id = await hold(ledger, requestOf(onThree, LEASE_MS))
  ledger.spoilt.lose = (told) => isAway(told) || told.script === 'coming'
  await expect(ledger.expire(atMs)).rejects.toThrow('lost')
  await eventually(() => {
    expect(marksOf(ledger)).not.toEqual([])
  })
  expect(await open().find(id, atMs)).toBeUndefined()
  ledger.spoilt.lose = isAway
  await expect(ledger.expire(atMs)).rejects.toThrow('lost')
  await eventually(() => expectComing(open(), id))
})

test('its report waits for a node that hangs, at another process, and ends it', async () => {
  const at = (): number => Date.now()
  const [ledger, other] = [open(undefined, true, 1000), open(undefined)]
  const hung = group().masterOf(`{${tagOf(away)}}`)
  try {
    // Again where its slices are over before it has decided.
    const id = await eventually(async () => {
      hung.resume()
      await ledger.end(await hold(ledger, requestOf(), at()), { kind: 'released' }, at())
      hung.pause()
      return hold(ledger, requestOf(), at())
    })
    await eventually(async () => {
      await expect(other.end(id, settled, at())).rejects.toThrow(ComingError)
    })
    hung.resume()
    await eventually(async () => {
      await ledger.expire(at()).catch(() => undefined)
      expect(await other.end(id, settled, at())).toMatchObject({ outcome: 'settled' })
    })
  } finally {
    hung.resume()
  }
  await closeAll()
  expect(await figures(onThree, at())).toEqual(standing(0, 1))
})

test('in a slot that is being moved a reservation is found, though no mark of it is there', async () => {
  const ledger = await opened()
  const ids = [await hold(ledger), await hold(ledger)]
  await ledger.expire(atMs)
  const tag = `{${tagOf(home)}}`
  const from = group().masterOf(tag)
  const to = group().masters.find((master) => master !== from) ?? from
  await group().openMove(slotOf(tag), from, to)
  try {
    for (const id of ids) expect(await open().find(id, atMs)).toMatchObject({ id })
    await group().moveKeys(slotOf(tag), from, to, 2, (key) => key.includes(':r:'))
    for (const id of ids) expect(await open().find(id, atMs)).toMatchObject({ id })
    expect(await open().find('unknown', atMs)).toBeUndefined()
  } finally {
    while ((await group().moveKeys(slotOf(tag), from, to, 100)) > 0);
    await group().closeMove(slotOf(tag), from, to)
  }
})
