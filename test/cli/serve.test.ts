import { afterEach, expect, test, vi } from 'vitest'
import { serve } from '../../src/commands/serve.js'

// To load the modules of the server takes longer than an operator may wait with a reload.
const loading = vi.hoisted(() => ({ listeners: 0 }))
vi.mock('../../src/main.js', () => {
  loading.listeners = process.listenerCount('SIGHUP')
  return { serve: () => Promise.resolve(0) }
})
afterEach(() => {
  process.removeAllListeners('SIGHUP')
})

test('SIGHUP does not end the program while its modules are loaded', async () => {
  const io = { out: vi.fn(), err: vi.fn(), progress: undefined, readInput: vi.fn() }
  expect(await serve.run(['--policy', 'tollgate.yaml'], io)).toBe(0)
  expect(loading.listeners).toBe(1)
})
