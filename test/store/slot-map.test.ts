import { expect, test } from 'vitest'
import { redirectFrom } from '../../src/store/redirect.js'
import { readSlotMap } from '../../src/store/slot-map.js'

test('the map has each slot at the master that is told first, at the asked host where none is told', () => {
  const { owners, masters } = readSlotMap(
    [
      [0, 99, ['10.0.0.1', 6379, 'id', []], ['10.0.0.2', 6379, 'id']],
      [100, 100, ['', 6380, 'id']],
      [102, 16_383, [null, 6381, 'id']],
      [101, 101, ['?', 6382, 'id']],
    ],
    '::1',
  )
  expect([0, 99, 100, 101, 102, 16_383].map((slot) => owners[slot])).toEqual([
    ...['10.0.0.1 6379', '10.0.0.1 6379', '::1 6380'],
    ...[undefined, '::1 6381', '::1 6381'],
  ])
  expect([...masters]).toEqual(['10.0.0.1 6379', '::1 6380', '::1 6381'])
})

test.each([
  ['nothing', null],
  ['text', 'ERR'],
  ['a slot beyond the last', [[0, 16_384, ['a', 1]]]],
  ['a slot that is no number', [['0', 1, ['a', 1]]]],
  ['no port', [[0, 1, ['a']]]],
  ['a port beyond the last', [[0, 1, ['a', 65_536]]]],
  ['no master', [[0, 1]]],
])('%s is no answer to CLUSTER SLOTS', (_, answer) => {
  expect(() => readSlotMap(answer, 'a')).toThrow('no answer to CLUSTER SLOTS')
})

test.each([
  ['of nobody', []],
  ['of nobody by name', [[0, 16_383, ['?', 6379]]]],
])('a map %s is none', (_, answer) => {
  expect(() => readSlotMap(answer, 'a')).toThrow('no node has a slot')
})

test.each([
  ['MOVED 3999 127.0.0.1:6381', { kind: 'MOVED', host: '127.0.0.1', port: 6381 }],
  ['ASK 3999 redis-0.redis.svc:6381', { kind: 'ASK', host: 'redis-0.redis.svc', port: 6381 }],
  ['MOVED 3999 fd00::1:6381', { kind: 'MOVED', host: 'fd00::1', port: 6381 }],
  ['MOVED 3999 :6381', { kind: 'MOVED', host: '', port: 6381 }],
  ['TRYAGAIN Multiple keys request during rehashing of slot', { kind: 'TRYAGAIN' }],
  ['MOVED 3999 ?:6381', undefined],
  ['MOVED', undefined],
  ['CLUSTERDOWN The cluster is down', undefined],
])('%s leads there', (message, redirect) => {
  expect(redirectFrom(message.split(' ')[0] ?? '', new Error(message))).toEqual(redirect)
})
