import { expect, test } from 'vitest'
import { readerOf, readUntil } from './reading.js'
import { chat, lastServed, startTestStack } from './stack.js'

const stack = await startTestStack()
const { nodeA } = stack

test('Envoy is drained in mid-stream: the stream ends well and its report comes', async () => {
  nodeA.behave({ pauseAfterTokens: 1 })
  const response = await stack.open({
    caller: 'alice',
    body: chat({ stream: true, max_tokens: 400 }),
  })
  const reader = readerOf(response)
  await readUntil(reader, '"content"')
  await fetch(`${stack.envoy.adminUrl}/drain_listeners?graceful&skip_exit`, { method: 'POST' })
  nodeA.release()
  await readUntil(reader, '[DONE]')
  const { generation } = lastServed(nodeA)
  expect(await stack.endOf(response)).toMatchObject({
    outcome: 'settled',
    inputTokens: generation.inputTokens,
    outputTokens: generation.outputTokens,
  })
})
