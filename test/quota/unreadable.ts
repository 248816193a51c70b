import type { Redis } from 'ioredis'

/**
 * Leaves a partition as a process of a later release would, with a window that this one does not know.
 *
 * @returns how it is put back
 */
export async function makeUnreadable(client: Redis, key: string): Promise<() => Promise<unknown>> {
  const stored = (await client.dumpBuffer(key)) ?? Buffer.alloc(0)
  await client.eval(
    `local state = cmsgpack.unpack(redis.call('GET', KEYS[1]))
    state.window = 'rolling 60000'
    redis.call('SET', KEYS[1], cmsgpack.pack(state))`,
    1,
    key,
  )
  return () => client.restore(key, 0, stored, 'REPLACE')
}
