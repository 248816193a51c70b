import { afterEach, expect, test } from 'vitest'
import { ComingError } from '../../src/errors.js'
import { atMs, away, decisionsOf, hold, home, onSlicedNodes, onThree } from './sliced-nodes.js'
import { eventually, requestOf, settled, standing } from './sliced-nodes.js'
import type { Process, Told } from './sliced-nodes.js'
import { bucketOf, tagOf } from './three-nodes.js'

// What was decided from slices when Redis has no memory left: it has passed, so it is told, and its report ends it.

const { closeAll, figures, group, open, opened, sent } = onSlicedNodes()

async function fill(isFull: boolean, nodes = group().masters): Promise<void> {
  for (const { client } of nodes) await client.config('SET', 'maxmemory', isFull ? '1' : '0')
}
afterEach(() => fill(false))

/** It asks nothing until they are full. */
function fillBeside({ spoilt }: Process, nodes = group().masters): Promise<void> {
  const filled = fill(true, nodes)
  spoilt.onAsked = () => filled
  return filled
}

/** More than is left in the slices of a process that has begun. */
const large = [{ ...home, amount: 200 }]
const isHomes = ({ script, bucket }: Told): boolean =>
  script === 'turn' && bucket === bucketOf(home)

test('it is told all the same, and ended once by its report at another process', async () => {
  const ledger = await opened()
  const filled = fillBeside(ledger)
  const ids = [await hold(ledger), await hold(ledger)]
  await filled
  await ledger.expire(atMs)
  const [one, plain] = [open(), open('given', false)]
  for (const id of ids) expect(await one.find(id, atMs)).toMatchObject({ id })
  expect(await one.end(ids[0] ?? '', settled, atMs)).toMatchObject({ outcome: 'settled' })
  expect(await plain.end(ids[0] ?? '', settled, atMs)).toBeUndefined()
  await fill(false)
  await closeAll()
  expect(await figures()).toEqual(standing(1, 1))
})

test('what was given up is given back, and so are slices', async () => {
  const ledger = await opened()
  const filled = fillBeside(ledger)
  const id = await hold(ledger)
  await filled
  await ledger.abandon(id, atMs)
  await closeAll()
  expect(await figures()).toEqual(standing(0))
})

test('what waits to be told is told by the turn that was to take a slice, which takes none', async () => {
  const ledger = await opened()
  // The answer of the turn before was lost first.
  ledger.spoilt.late = (told) => (isHomes(told) ? Promise.resolve() : undefined)
  await hold(ledger, requestOf([home]))
  await expect(ledger.expire(atMs)).rejects.toThrow('late')
  await Promise.all(sent)
  ledger.spoilt.late = () => undefined
  await ledger.expire(atMs)
  const before = await figures()
  void fillBeside(ledger)
  const id = await hold(ledger, requestOf([home]))
  await expect(ledger.reserve(requestOf(large), atMs)).rejects.toThrow('Redis answered OOM')
  expect(await open().find(id, atMs)).toMatchObject({ id })
  expect(await figures()).toEqual(before)
  await fill(false)
  const asked = decisionsOf(ledger)
  await hold(ledger, requestOf(large), atMs + 250)
  expect(decisionsOf(ledger)).toBe(asked)
})

test('a turn whose answer was lost is asked again as it was, and takes effect once', async () => {
  const ledger = await opened()
  const id = await hold(ledger, requestOf([home]))
  ledger.spoilt.late = (told) => (isHomes(told) ? Promise.resolve() : undefined)
  const large1 = await hold(ledger, requestOf(large))
  await Promise.all(sent)
  ledger.spoilt.late = () => undefined
  await fillBeside(ledger)
  await ledger.expire(atMs)
  expect(await open().find(id, atMs)).toMatchObject({ id })
  // The slice that it took is there: Redis, which is full, is not asked.
  const large2 = await hold(ledger, requestOf(large))
  for (const each of [id, large1, large2]) {
    expect(await ledger.end(each, settled, atMs)).toMatchObject({ outcome: 'settled' })
  }
  await fill(false)
  await closeAll()
  expect(await figures([home])).toEqual([[12, 0]])
})

test('it is marked at a home that is full while another of its nodes is away', async () => {
  const ledger = await opened()
  const filled = fillBeside(ledger, [group().masterOf(`{${tagOf(home)}}`)])
  ledger.spoilt.lose = ({ script, bucket }) => script === 'turn' && bucket === bucketOf(away)
  const id = await hold(ledger)
  await filled
  await expect(ledger.expire(atMs)).rejects.toThrow('lost')
  await eventually(() => expect(open().find(id, atMs)).rejects.toThrow(ComingError))
  ledger.spoilt.lose = () => false
  await ledger.expire(atMs)
  expect(await open().end(id, settled, atMs)).toMatchObject({ outcome: 'settled' })
  await fill(false)
  await closeAll()
  expect(await figures(onThree)).toEqual(standing(0, 1))
})
