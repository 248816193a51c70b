import { setImmediate as nextTick } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { partsInTime } from '../../src/quota/redis/parts-in-time.js'
import { UnansweredError } from '../../src/store/store.js'

const PATIENCE_MS = 5

/**
 * Two calls that end when they are told to, and the silence of the node of each.
 *
 * @param needed those that nothing can be done without
 */
function twoCalls(needed: readonly number[] = []) {
  const silentMs = [0, 0]
  const calls = [0, 1].map(() => {
    let end = { answer: (_: string): void => undefined, fail: (_: Error): void => undefined }
    const promise = new Promise<string>((resolve, reject) => {
      end = { answer: resolve, fail: reject }
    })
    return { promise, ...end }
  }) as [Ending, Ending]
  let outcomes: readonly PromiseSettledResult<string>[] | undefined
  const over = partsInTime(
    calls.map(({ promise }) => promise),
    {
      silentMs: (index) => silentMs[index] ?? 0,
      patienceMs: PATIENCE_MS,
      isNeeded: (index) => needed.includes(index),
    },
  ).then((settled) => {
    outcomes = settled
    return settled
  })
  return { silentMs, calls, over, soFar: () => outcomes }
}
interface Ending {
  readonly promise: Promise<string>
  readonly answer: (value: string) => void
  readonly fail: (error: Error) => void
}

/** All that is under way is read, and looked at. */
async function settle(): Promise<void> {
  for (let times = 0; times < 5; times += 1) await nextTick()
}

const givenUp = [
  { status: 'fulfilled', value: 'held' },
  { status: 'rejected', reason: expect.any(UnansweredError) as Error },
]

test('calls that all come to an end are waited for', async () => {
  const { calls, over } = twoCalls()
  const refused = new Error('refused')
  calls[1].fail(refused)
  calls[0].answer('held')
  expect(await over).toEqual([
    { status: 'fulfilled', value: 'held' },
    { status: 'rejected', reason: refused },
  ])
})

test('one of a silent node is given up when the other is answered', async () => {
  const { silentMs, calls, over, soFar } = twoCalls()
  silentMs[1] = PATIENCE_MS
  await settle()
  expect(soFar()).toBeUndefined()
  calls[0].answer('held')
  expect(await over).toEqual(givenUp)
})

test('one of a node that falls silent is given up then', async () => {
  const { silentMs, calls, over, soFar } = twoCalls()
  calls[0].answer('held')
  await settle()
  expect(soFar()).toBeUndefined()
  silentMs[1] = PATIENCE_MS
  expect(await over).toEqual(givenUp)
})

test('one that nothing can be done without is waited for, however silent its node is', async () => {
  const { silentMs, calls, over, soFar } = twoCalls([1])
  silentMs[1] = PATIENCE_MS
  calls[0].answer('held')
  await settle()
  expect(soFar()).toBeUndefined()
  calls[1].answer('held too')
  expect(await over).toMatchObject([{ value: 'held' }, { value: 'held too' }])
})

test('where nobody has answered, no silence ends the waiting', async () => {
  const { silentMs, calls, soFar, over } = twoCalls()
  silentMs.fill(PATIENCE_MS)
  const refused = new Error('refused')
  calls[0].fail(refused)
  await settle()
  expect(soFar()).toBeUndefined()
  calls[1].answer('held')
  expect(await over).toEqual([
    { status: 'rejected', reason: refused },
    { status: 'fulfilled', value: 'held' },
  ])
})

test('an answer that lies there already is read before its node counts as silent', async () => {
  const { silentMs, calls, over } = twoCalls()
  silentMs[1] = PATIENCE_MS
  calls[0].answer('held')
  await calls[0].promise
  await Promise.resolve()
  calls[1].answer('held too')
  expect(await over).toMatchObject([{ value: 'held' }, { value: 'held too' }])
})

test('so is one that has come since the poll in which the other was read', async () => {
  const { silentMs, calls, over } = twoCalls()
  silentMs[1] = PATIENCE_MS
  calls[0].answer('held')
  await calls[0].promise
  await Promise.resolve()
  // Behind the first look, and before the next poll is over.
  await nextTick()
  calls[1].answer('held too')
  expect(await over).toMatchObject([{ value: 'held' }, { value: 'held too' }])
})

test('a node that has answered somebody since is waited for', async () => {
  const { silentMs, calls, over, soFar } = twoCalls()
  silentMs[1] = PATIENCE_MS
  calls[0].answer('held')
  await calls[0].promise
  await Promise.resolve()
  await nextTick()
  silentMs[1] = 0
  await settle()
  expect(soFar()).toBeUndefined()
  calls[1].answer('held too')
  expect(await over).toMatchObject([{ value: 'held' }, { value: 'held too' }])
})
