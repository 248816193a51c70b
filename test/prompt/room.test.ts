import { describe, expect, test } from 'vitest'
import { isDenial } from '../../src/denial.js'
import {
  CALLERS_TO_FILL,
  createRoom,
  LARGE_BYTES,
  MAX_OPEN_PROMPTS,
} from '../../src/prompt/room.js'
import type { Place, Room } from '../../src/prompt/room.js'

const maxBytes = 8000

function enter(room: Room, caller: string, bytes: number): Place {
  const place = room.enter(caller, bytes)
  if (isDenial(place)) throw new Error(place.reason)
  return place
}

describe('the room', () => {
  test('refuses a caller beyond its share of the bytes, and nobody else', () => {
    const room = createRoom(maxBytes)
    const first = enter(room, 'alice', 600)
    enter(room, 'alice', 400)
    expect(room.enter('alice', 1)).toMatchObject({ reason: 'too_many_prompts', retryAfterMs: 1000 })
    enter(room, 'bob', 1000)
    first.leave()
    enter(room, 'alice', 600)
    expect(room.enter('alice', 1)).toMatchObject({ reason: 'too_many_prompts' })
  })

  test('refuses a caller beyond its share of the prompts', () => {
    const room = createRoom(maxBytes)
    const share = MAX_OPEN_PROMPTS / CALLERS_TO_FILL
    for (let index = 0; index < share; index += 1) enter(room, 'alice', 1)
    expect(room.enter('alice', 1)).toMatchObject({ reason: 'too_many_prompts' })
    enter(room, 'bob', 1)
  })

  test('takes one prompt of a caller whatever its size, as long as all of them fit', () => {
    const room = createRoom(maxBytes)
    enter(room, 'alice', maxBytes - 1)
    enter(room, 'bob', 1)
    expect(() => room.enter('carol', 1)).toThrow('too many large prompts at once')
  })

  test('fails when all callers together have filled it with prompts', () => {
    const room = createRoom(maxBytes)
    for (let index = 0; index < MAX_OPEN_PROMPTS; index += 1)
      enter(room, `caller ${String(index)}`, 1)
    expect(() => room.enter('carol', 1)).toThrow('too many large prompts at once')
  })

  test('has each place again once, however often it is left', () => {
    const room = createRoom(100)
    const first = enter(room, 'alice', 60)
    enter(room, 'bob', 40)
    first.leave()
    first.leave()
    enter(room, 'carol', 60)
    expect(() => room.enter('dave', 1)).toThrow('too many large prompts at once')
  })

  test('has room for a caller again after a refusal and after a failure', () => {
    const room = createRoom(maxBytes)
    const all = enter(room, 'alice', maxBytes)
    expect(() => room.enter('bob', 1)).toThrow()
    expect(isDenial(room.enter('alice', 1))).toBe(true)
    all.leave()
    enter(room, 'bob', maxBytes)
  })

  test('keeps nothing of a caller whose last prompt has left', () => {
    const room = createRoom(maxBytes)
    const places = ['alice', 'alice', 'bob'].map((caller) => enter(room, caller, 1))
    expect(room.size()).toBe(2)
    for (const place of places) place.leave()
    expect(room.size()).toBe(0)
  })
})

describe('the turn', () => {
  const turnsOf = (room: Room, caller: string, sizes: readonly number[]) =>
    sizes.map((bytes) => enter(room, caller, bytes).turn)

  test('of one size goes round by caller', () => {
    const room = createRoom(1e9)
    const alice = turnsOf(room, 'alice', [10, 10, 10])
    const bob = turnsOf(room, 'bob', [10, 10])
    expect(alice).toEqual([10, 20, 30])
    expect(bob).toEqual([10, 20])
  })

  test('of who comes later is behind what is served, not behind what waits', () => {
    const room = createRoom(1e9)
    const [first = 0] = turnsOf(room, 'alice', [1000, 1000, 1000])
    room.reached(first)
    expect(turnsOf(room, 'carol', [10])).toEqual([1010])
  })

  test('of a small prompt is before the large one of another', () => {
    const room = createRoom(1e9)
    const [large = 0] = turnsOf(room, 'alice', [LARGE_BYTES])
    const [small = 0] = turnsOf(room, 'carol', [10])
    expect(small).toBeLessThan(large)
  })

  test('of the largest prompt comes after a bounded number of small ones', () => {
    const room = createRoom(1e9)
    const [large = 0] = turnsOf(room, 'alice', [500_000_000])
    let before = 0
    for (;;) {
      const place = enter(room, 'carol', 1024)
      if (place.turn >= large) break
      room.reached(place.turn)
      place.leave()
      before += 1
    }
    expect(before).toBe(LARGE_BYTES / 1024 - 1)
  })

  test('does not go back to what was passed', () => {
    const room = createRoom(1e9)
    room.reached(100)
    room.reached(50)
    expect(turnsOf(room, 'carol', [1])).toEqual([101])
  })
})
