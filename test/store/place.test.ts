import { once } from 'node:events'
import { Redis } from 'ioredis'
import { expect, test } from 'vitest'
import { clientOptions, placeFrom } from '../../src/store/place.js'
import { startFaultProxy } from '../fault-proxy.js'
import { startRedis } from '../redis-server.js'

test('nothing is sent a second time, and nothing waits for a connection', () => {
  const nobody = { caFile: undefined, user: undefined, passwordFile: undefined }
  const { options } = new Redis(clientOptions(placeFrom('redis://127.0.0.1:1'), nobody))
  expect(options).toMatchObject({
    maxRetriesPerRequest: 0,
    retryStrategy: null,
    enableOfflineQueue: false,
  })
})

test('a connection that was lost does not connect again by itself, and fails what comes', async () => {
  const redis = await startRedis()
  const proxy = await startFaultProxy(redis.port)
  const place = placeFrom(`redis://127.0.0.1:${String(proxy.port)}`)
  const nobody = { caFile: undefined, user: undefined, passwordFile: undefined }
  const client = new Redis(clientOptions(place, nobody))
  client.on('error', () => undefined)
  await client.connect()
  const events: string[] = []
  for (const event of ['end', 'reconnecting']) client.on(event, () => events.push(event))
  const closed = once(client, 'close')
  proxy.cut()
  await closed
  await new Promise((resolve) => setImmediate(resolve))
  expect(events).toEqual(['end'])
  await expect(client.ping()).rejects.toThrow('Connection is closed')
  client.disconnect()
  await proxy.stop()
  await redis.stop()
})
