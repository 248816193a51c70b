import { Redis } from 'ioredis'
import { CONNECT_TIMEOUT_MS, clientOptions, withinTime } from './place.js'
import type { Access, Place } from './place.js'

/** Asks a server one thing, on a connection that is closed afterwards. */
export async function askOnce(
  place: Place,
  access: Access,
  command: readonly [name: string, ...args: string[]],
): Promise<unknown> {
  const client = new Redis(clientOptions(place, access))
  // Every failure also reaches the caller; unheard, it would end the process.
  client.on('error', () => undefined)
  const ask = async (): Promise<unknown> => {
    await client.connect()
    const [name, ...args] = command
    return client.call(name, ...args)
  }
  try {
    return await withinTime(CONNECT_TIMEOUT_MS, ask())
  } finally {
    client.disconnect()
  }
}
