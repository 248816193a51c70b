import { expect, test } from 'vitest'
import { spiffeIdOf } from '../src/spiffe.js'

test.each([
  'spiffe://acme.example',
  'spiffe://acme.example/ci',
  'spiffe://cluster.local/ns/llm/sa/batch_2',
  'spiffe://a/..b/.c/...',
  `spiffe://a/${'x'.repeat(2037)}`,
])('a peer is known by its SPIFFE id: %s', (peer) => {
  expect(spiffeIdOf(peer)).toBe(peer)
})

test.each([
  '',
  'CN=ci,O=acme',
  'ci.acme.example',
  'https://acme.example/ci',
  'SPIFFE://acme.example/ci',
  'spiffe://Acme.example/ci',
  'spiffe://acme.example/',
  'spiffe://acme.example//ci',
  'spiffe://acme.example/a/../ci',
  'spiffe://acme.example/.',
  'spiffe://acme.example/ci?x',
  'spiffe://acme.example/ci#x',
  'spiffe://acme.example:443/ci',
  'spiffe:///ci',
  'x spiffe://acme.example/ci',
  'spiffe://acme.example/ci\n',
  `spiffe://a/${'x'.repeat(2038)}`,
])('a peer has no SPIFFE id: %j', (peer) => {
  expect(spiffeIdOf(peer)).toBeUndefined()
})
