import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createDeadlineQueue } from '../../src/quota/deadline-queue.js'
import { runs } from '../runs.js'

interface Item {
  queuePosition: number
  readonly name: number
}

test('gives out what is due, earliest first, after any puts, moves and removals', () => {
  const change = fc.record({
    do: fc.constantFrom(
      'put' as const,
      'put' as const,
      'put' as const,
      'remove' as const,
      'take' as const,
    ),
    name: fc.nat({ max: 30 }),
    due: fc.nat({ max: 100 }),
  })
  fc.assert(
    fc.property(fc.array(change, { maxLength: 200, size: 'max' }), (changes) => {
      const queue = createDeadlineQueue<Item>()
      const items = Array.from({ length: 31 }, (_, name) => ({ name, queuePosition: -1 }))
      const expected = new Map<number, number>()
      const expectEarliest = (nowMs: number): void => {
        const earliest = Math.min(...expected.values(), Infinity)
        const taken = queue.takeDue(nowMs)
        if (earliest > nowMs) {
          expect(taken).toBeUndefined()
        } else {
          if (taken === undefined) throw new Error('nothing was given out')
          expect(expected.get(taken.name)).toBe(earliest)
          expected.delete(taken.name)
        }
      }
      for (const { do: act, name, due } of changes) {
        const item = items[name]
        if (item === undefined) throw new Error('no such item')
        if (act === 'put') {
          queue.put(item, due)
          expected.set(name, due)
        } else if (act === 'remove') {
          queue.remove(item)
          expected.delete(name)
        } else {
          expectEarliest(due)
        }
        const queued = items.filter(({ queuePosition }) => queuePosition !== -1)
        expect(queued.length).toBe(expected.size)
      }
      while (expected.size > 0) expectEarliest(100)
      expectEarliest(100)
    }),
    { numRuns: runs(150) },
  )
})
