import { describe, expect, test } from 'vitest'
import { isDenial } from '../../src/denial.js'
import { SHARES, createFairQueue, LARGE_BYTES, MAX_OPEN_PROMPTS } from '../../src/prompt/queue.js'
import type { Place, FairQueue } from '../../src/prompt/queue.js'

const maxBytes = 8000

function enter(queue: FairQueue, caller: string, bytes: number): Place {
  const place = queue.enter(caller, bytes)
  if (isDenial(place)) throw new Error(place.reason)
  return place
}

describe('the queue', () => {
  test('refuses a caller beyond its share of the bytes, and nobody else', () => {
    const queue = createFairQueue(maxBytes)
    const first = enter(queue, 'alice', 600)
    enter(queue, 'alice', 400)
    expect(queue.enter('alice', 1)).toMatchObject({
      reason: 'too_many_prompts',
      retryAfterMs: 1000,
    })
    enter(queue, 'bob', 1000)
    first.leave()
    enter(queue, 'alice', 600)
    expect(queue.enter('alice', 1)).toMatchObject({ reason: 'too_many_prompts' })
  })

  test('refuses a caller beyond its share of the prompts', () => {
    const queue = createFairQueue(maxBytes)
    const share = MAX_OPEN_PROMPTS / SHARES
    for (let index = 0; index < share; index += 1) enter(queue, 'alice', 1)
    expect(queue.enter('alice', 1)).toMatchObject({ reason: 'too_many_prompts' })
    enter(queue, 'bob', 1)
  })

  test('takes one prompt of a caller whatever its size, as long as all of them fit', () => {
    const queue = createFairQueue(maxBytes)
    enter(queue, 'alice', maxBytes - 1)
    enter(queue, 'bob', 1)
    expect(() => queue.enter('carol', 1)).toThrow('too many large prompts at once')
  })

  test('fails when all callers together have filled it with prompts', () => {
    const queue = createFairQueue(maxBytes)
    for (let index = 0; index < MAX_OPEN_PROMPTS; index += 1)
      enter(queue, `caller ${String(index)}`, 1)
    expect(() => queue.enter('carol', 1)).toThrow('too many large prompts at once')
  })

  test('has each place again once, however often it is left', () => {
    const queue = createFairQueue(100)
    const first = enter(queue, 'alice', 60)
    enter(queue, 'bob', 40)
    first.leave()
    first.leave()
    enter(queue, 'carol', 60)
    expect(() => queue.enter('dave', 1)).toThrow('too many large prompts at once')
  })

  test('has queue for a caller again after a refusal and after a failure', () => {
    const queue = createFairQueue(maxBytes)
    const all = enter(queue, 'alice', maxBytes)
    expect(() => queue.enter('bob', 1)).toThrow()
    expect(isDenial(queue.enter('alice', 1))).toBe(true)
    all.leave()
    enter(queue, 'bob', maxBytes)
  })

  test('keeps nothing of a caller whose last prompt has left', () => {
    const queue = createFairQueue(maxBytes)
    const places = ['alice', 'alice', 'bob'].map((caller) => enter(queue, caller, 1))
    expect(queue.size()).toBe(2)
    for (const place of places) place.leave()
    expect(queue.size()).toBe(0)
  })
})

describe('the turn', () => {
  const turnsOf = (queue: FairQueue, caller: string, sizes: readonly number[]) =>
    sizes.map((bytes) => enter(queue, caller, bytes).turn)

  test('of one size goes round by caller', () => {
    const queue = createFairQueue(1e9)
    const alice = turnsOf(queue, 'alice', [10, 10, 10])
    const bob = turnsOf(queue, 'bob', [10, 10])
    expect(alice).toEqual([10, 20, 30])
    expect(bob).toEqual([10, 20])
  })

  test('of who comes later is behind what is served, not behind what waits', () => {
    const queue = createFairQueue(1e9)
    const [first = 0] = turnsOf(queue, 'alice', [1000, 1000, 1000])
    queue.reached(first)
    expect(turnsOf(queue, 'carol', [10])).toEqual([1010])
  })

  test('of a small prompt is before the large one of another', () => {
    const queue = createFairQueue(1e9)
    const [large = 0] = turnsOf(queue, 'alice', [LARGE_BYTES])
    const [small = 0] = turnsOf(queue, 'carol', [10])
    expect(small).toBeLessThan(large)
  })

  test('of the largest prompt comes after a bounded number of small ones', () => {
    const queue = createFairQueue(1e9)
    const [large = 0] = turnsOf(queue, 'alice', [500_000_000])
    let before = 0
    for (;;) {
      const place = enter(queue, 'carol', 1024)
      if (place.turn >= large) break
      queue.reached(place.turn)
      place.leave()
      before += 1
    }
    expect(before).toBe(LARGE_BYTES / 1024 - 1)
  })

  test('does not go back to what was passed', () => {
    const queue = createFairQueue(1e9)
    queue.reached(100)
    queue.reached(50)
    expect(turnsOf(queue, 'carol', [1])).toEqual([101])
  })
})
