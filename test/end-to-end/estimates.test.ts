import { expect, test } from 'vitest'
import type { EndOfRequest } from '../../deploy/demo/audit-trail.js'
import { readerOf, readUntil } from './reading.js'
import { chat, eventually, lastServed, startTestStack } from './stack.js'

/** Held by whoever leaves: far more than is generated in the time that a test takes. */
const HELD_TOKENS = 100_000
const GENERATED_TOKENS = 100

/**
 * More than the 20 reports, and the 10,000 output tokens, from which Tollgate learns what a byte and a millisecond are;
 * each within what Envoy takes from the engine whether the client reads or not.
 */
const TEACHING_STREAMS = 54
const TAUGHT_TOKENS = 200

const stack = await startTestStack((policy) => {
  for (const model of policy.models) model['contextTokens'] = 2 * HELD_TOKENS
  for (const grant of policy.grants) grant['maxOutputTokens'] = HELD_TOKENS
  for (const quota of policy.quotas) {
    quota['limit'] = quota['unit'] === 'tokens' ? 100_000_000 : TEACHING_STREAMS
  }
})
const { nodeA } = stack

/** A client that leaves as soon as it has read what was generated for it. */
async function endOfAbortedStream(): Promise<EndOfRequest> {
  nodeA.behave({ outputTokens: 2 * GENERATED_TOKENS, pauseAfterTokens: GENERATED_TOKENS })
  const leaving = new AbortController()
  const body = chat({ stream: true, max_tokens: HELD_TOKENS })
  const response = await stack.open({ caller: 'alice', body, signal: leaving.signal })
  await readUntil(readerOf(response), '"content"', GENERATED_TOKENS)
  leaving.abort()
  const { generation } = lastServed(nodeA)
  await eventually(() => {
    expect(generation.clientLeft).toBe(true)
  })
  nodeA.release()
  expect(generation.outputTokens).toBe(GENERATED_TOKENS)
  return stack.endOf(response)
}

/** A settled stream. Its request is long, so that a rate by bytes of requests would be far below that of answers. */
async function settleStream(): Promise<void> {
  const messages = [{ role: 'user', content: 'to the gate and back '.repeat(2000) }]
  const body = chat({ stream: true, max_tokens: TAUGHT_TOKENS, messages })
  const answer = await stack.send({ caller: 'alice', body })
  const { members } = await stack.accessLogOf(answer)
  expect(await stack.endOf(answer)).toMatchObject({
    outcome: 'settled',
    outputTokens: TAUGHT_TOKENS,
    durationMs: members['duration_ms'],
  })
}

test('a stream that is left costs all that it held, until settled ones have taught a rate', async () => {
  const untaught = await endOfAbortedStream()
  expect(untaught).toMatchObject({ outcome: 'estimated', outputTokens: HELD_TOKENS })

  // Slower than the one that is left, so that its bytes, not its duration, say the most.
  nodeA.behave({ outputTokens: TAUGHT_TOKENS, tokenDelayMs: 1 })
  await Promise.all(Array.from({ length: TEACHING_STREAMS }, settleStream))

  const { outcome, outputTokens } = await endOfAbortedStream()
  expect(outcome).toBe('estimated')
  expect(outputTokens).toBeGreaterThanOrEqual(GENERATED_TOKENS)
  expect(outputTokens).toBeLessThan(HELD_TOKENS)
})
