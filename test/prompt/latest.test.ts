import { expect, test } from 'vitest'
import { keepLatest } from '../../src/prompt/latest.js'

test('what was made for the latest keys is kept, and no more of it', () => {
  const made: string[] = []
  const valueOf = keepLatest(2, (input: string) => {
    made.push(input)
    return { input }
  })
  const first = valueOf(1, 'a')
  expect(valueOf(1, 'a')).toBe(first)
  valueOf(2, 'b')
  expect(valueOf(1, 'a')).toBe(first)
  valueOf(3, 'c')
  valueOf(2, 'b')
  expect(made).toEqual(['a', 'b', 'c'])
  expect(valueOf(1, 'a')).not.toBe(first)
  expect(made).toEqual(['a', 'b', 'c', 'a'])
})
