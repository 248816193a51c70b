import { describe, expect, test } from 'vitest'
import { setDurations } from './durations.js'
import { dialects } from './error-bodies.js'
import { chat, startTestStack } from './stack.js'

// Envoy's two clocks are shortened: what is tested is what it says when they run out. Nothing here is large or busy,
// so that they run out only where they should.
const stack = await startTestStack(
  () => undefined,
  (config) =>
    setDurations(config, [
      ['"request_timeout": "60s"', '"request_timeout": "2s"'],
      ['"idle_timeout": "600s"', '"idle_timeout": "2s"'],
    ]),
)

describe.each(dialects)('out of time in the dialect of $name', ({ path, error, types }) => {
  test('an upload that stalls is 408', async () => {
    const stalling = new ReadableStream({
      start(controller) {
        controller.enqueue(Buffer.from('{"model":'))
      },
    })
    const response = await fetch(`${stack.envoy.url}${path}`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${stack.credentialOf('alice')}`,
        'content-type': 'application/json',
      },
      body: stalling,
      duplex: 'half',
    })
    expect(response.status).toBe(408)
    expect(await response.json()).toEqual(error('request_timeout', types[408]))
  })

  test('a model that stays silent is 504, and is charged: it may be working', async () => {
    stack.nodeA.behave({ hold: true })
    const answer = await stack.send({ path, caller: 'alice', body: chat() })
    stack.nodeA.release()
    expect(answer.status).toBe(504)
    expect(JSON.parse(answer.text)).toEqual(error('upstream_timeout', types[504]))
    expect(await stack.endOf(answer)).toMatchObject({ outcome: 'estimated', outputTokens: 200 })
  })
})
