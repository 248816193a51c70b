import { EventEmitter, getEventListeners } from 'node:events'
import type { Worker } from 'node:worker_threads'
import { describe, expect, test } from 'vitest'
import { isDenial } from '../../src/denial.js'
import { AbandonedError, DependencyError } from '../../src/errors.js'
import type { WorkerRequest } from '../../src/prompt/messages.js'
import { createPool } from '../../src/prompt/pool.js'
import type { HeldPrompt, PoolOptions } from '../../src/prompt/pool.js'
import { LARGE_BYTES } from '../../src/prompt/queue.js'

const never = new AbortController().signal
const waitMs = 1000
const workMs = waitMs + 500

/** A worker that does what the test says, when it says so. */
class FakeWorker extends EventEmitter {
  readonly requests: WorkerRequest[] = []
  isTerminated = false

  postMessage(request: WorkerRequest): void {
    this.requests.push(request)
  }

  async terminate(): Promise<number> {
    this.isTerminated = true
    return 1
  }

  /** Whose prompt came to it last. */
  get latest(): string | undefined {
    return this.requests.at(-1)?.source.path
  }

  /** Ends the piece in hand. */
  answer(): void {
    this.emit('message', { kind: 'counted', tokens: this.requests.length })
  }
}

interface Clock {
  readonly delayMs: number
  readonly run: () => void
}

function stage(changes: Partial<PoolOptions> = {}, { areReady = true } = {}) {
  const workers: FakeWorker[] = []
  const clocks = new Set<Clock>()
  const pool = createPool({
    startWorker: () => {
      const worker = new FakeWorker()
      workers.push(worker)
      // No more of a worker than the pool uses.
      return worker as unknown as Worker
    },
    workers: 1,
    timeoutMs: waitMs,
    maxOpenBytes: 1e9,
    after: (delayMs, run) => {
      const clock = { delayMs, run }
      clocks.add(clock)
      return () => clocks.delete(clock)
    },
    ...changes,
  })
  if (areReady) for (const worker of workers) worker.emit('message', { kind: 'ready' })

  function hold(caller: string, bytes = 1000, signal = never): HeldPrompt {
    const source = { dialect: 'openai', path: caller, body: new Uint8Array(bytes) }
    const held = pool.hold(source, caller, signal)
    if (isDenial(held)) throw new Error(held.reason)
    return held
  }
  return {
    pool,
    workers,
    clocks,
    hold,
    /** Sends one piece of a new prompt, and says what becomes of it. */
    send(caller: string, bytes?: number, signal?: AbortSignal): Promise<unknown> {
      return outcome(hold(caller, bytes, signal).run({ kind: 'read' }))
    },
    worker(index: number): FakeWorker {
      const worker = workers[index]
      if (worker === undefined) throw new Error(`no worker ${String(index)}`)
      return worker
    },
    /** The time of the oldest clock of this length is over. */
    ring(delayMs: number): void {
      const clock = [...clocks].find((candidate) => candidate.delayMs === delayMs)
      if (clock === undefined) throw new Error(`no clock of ${String(delayMs)} ms`)
      clocks.delete(clock)
      clock.run()
    },
  }
}

/** Until all that follows from what happened has happened. */
async function turn(): Promise<void> {
  for (let index = 0; index < 3; index += 1) await new Promise((resolve) => setImmediate(resolve))
}

function outcome(answer: Promise<unknown>): Promise<unknown> {
  return answer.then(
    () => 'done',
    (error: unknown) => error,
  )
}

const failure = (message: string) => new DependencyError('inspection', message)

describe('a piece that waits', () => {
  test('fails alone when its time is over: the worker goes on with what it has', async () => {
    const it = stage()
    const answers = [it.send('alice'), it.send('bob'), it.send('carol')]
    expect(it.worker(0).requests.length).toBe(1)
    it.ring(waitMs)
    expect(await answers[1]).toEqual(failure('no worker free in time'))
    expect(it.worker(0).isTerminated).toBe(false)
    it.worker(0).answer()
    expect(await answers[0]).toBe('done')
    await turn()
    expect(it.worker(0).latest).toBe('carol')
    it.worker(0).answer()
    expect(await answers[2]).toBe('done')
    expect(it.workers.length).toBe(1)
    expect(it.clocks.size).toBe(0)
  })

  test('has the whole time of work from when the worker has it', async () => {
    const it = stage()
    void it.send('alice')
    const answer = it.send('bob')
    expect([...it.clocks].map(({ delayMs }) => delayMs)).toEqual([workMs, waitMs])
    it.worker(0).answer()
    await turn()
    expect([...it.clocks].map(({ delayMs }) => delayMs)).toEqual([workMs])
    it.ring(workMs)
    expect(await answer).toEqual(failure('the worker thread ended: it was stuck'))
  })

  test('is taken out when its Check is given up', async () => {
    const it = stage()
    const controller = new AbortController()
    void it.send('alice')
    const answer = it.send('bob', 1000, controller.signal)
    controller.abort()
    expect(await answer).toBeInstanceOf(AbandonedError)
    it.worker(0).answer()
    await turn()
    expect(it.worker(0).requests.length).toBe(1)
    expect(it.clocks.size).toBe(0)
  })

  test('never begins when its Check was given up before', async () => {
    const it = stage()
    expect(await it.send('alice', 1000, AbortSignal.abort())).toBeInstanceOf(AbandonedError)
    expect(it.worker(0).requests).toEqual([])
  })

  test('does not listen for the end of its Check any more once a worker has it', () => {
    const it = stage()
    const { signal } = new AbortController()
    void it.send('alice', 1000, signal)
    void it.send('bob', 1000, signal)
    expect(getEventListeners(signal, 'abort').length).toBe(1)
  })

  test('waits for a worker that is starting', async () => {
    const it = stage({}, { areReady: false })
    const answer = it.send('alice')
    expect(it.worker(0).requests).toEqual([])
    it.worker(0).emit('message', { kind: 'ready' })
    await turn()
    it.worker(0).answer()
    expect(await answer).toBe('done')
  })
})

describe('a worker that is ended', () => {
  test('fails the piece in hand alone: those that wait are handed on', async () => {
    const it = stage()
    const [stuck, ...others] = [it.send('alice'), it.send('bob'), it.send('carol')]
    it.ring(workMs)
    expect(await stuck).toEqual(failure('the worker thread ended: it was stuck'))
    expect(it.worker(0).isTerminated).toBe(true)
    it.worker(0).emit('exit')
    await turn()
    expect(it.workers.length).toBe(2)
    it.worker(1).emit('message', { kind: 'ready' })
    for (const answer of others) {
      await turn()
      it.worker(1).answer()
      expect(await answer).toBe('done')
    }
  })

  test('takes no prompt with it: another goes on with the body', async () => {
    const it = stage({ workers: 2 })
    const held = it.hold('alice')
    const read = held.run({ kind: 'read' })
    it.worker(0).answer()
    await read
    const counted = outcome(held.run({ kind: 'count', encoding: 'cl100k_base' }))
    await turn()
    it.worker(0).emit('exit')
    expect(await counted).toEqual(failure('the worker thread ended: it exited'))
    const again = held.run({ kind: 'count', encoding: 'cl100k_base' })
    await turn()
    expect(it.worker(1).requests.map(({ source }) => source.body.length)).toEqual([1000])
    it.worker(1).answer()
    expect(await again).toMatchObject({ kind: 'counted' })
  })

  test('says nothing more that is heard', async () => {
    const it = stage()
    const first = it.send('alice')
    it.ring(workMs)
    await first
    await turn()
    it.worker(1).emit('message', { kind: 'ready' })
    const second = it.send('alice')
    it.worker(0).answer()
    it.worker(1).answer()
    expect(await second).toBe('done')
  })

  test('is replaced once, also when the next piece comes at once', async () => {
    const it = stage()
    void it.send('alice')
    it.worker(0).emit('exit')
    const answer = it.send('bob')
    await turn()
    expect(it.workers.length).toBe(2)
    it.worker(1).emit('message', { kind: 'ready' })
    await turn()
    it.worker(1).answer()
    expect(await answer).toBe('done')
  })

  test('with nothing in hand is replaced when the next piece comes, and no sooner', async () => {
    const it = stage()
    it.worker(0).emit('exit')
    it.worker(0).emit('message', { kind: 'ready' })
    await turn()
    expect(it.workers.length).toBe(1)
    const answer = it.send('alice')
    expect(it.workers.length).toBe(2)
    it.worker(1).emit('message', { kind: 'ready' })
    await turn()
    it.worker(1).answer()
    expect(await answer).toBe('done')
  })

  test('before it took work, as the last, fails what waits for it', async () => {
    const it = stage({ workers: 2 }, { areReady: false })
    const answer = it.send('alice')
    it.worker(0).emit('exit')
    await turn()
    expect(it.clocks.size).toBe(1)
    it.worker(1).emit('error', Object.assign(new Error('text'), { code: 'MODULE_NOT_FOUND' }))
    expect(await answer).toEqual(failure('the worker thread ended: MODULE_NOT_FOUND'))
    await turn()
    expect(it.workers.length).toBe(2)
  })
})

describe('whose turn it is', () => {
  test('goes round by caller: one with a prompt does not wait for ten of another', async () => {
    const it = stage()
    for (let index = 0; index < 10; index += 1) void it.send('alice')
    void it.send('carol')
    const served = []
    for (let index = 0; index < 4; index += 1) {
      served.push(it.worker(0).latest)
      it.worker(0).answer()
      await turn()
    }
    expect(served).toEqual(['alice', 'alice', 'carol', 'alice'])
  })

  test('stays with a prompt that was begun, whose next piece comes with the answer', async () => {
    const it = stage()
    const held = it.hold('carol')
    const whole = held.run({ kind: 'read' }).then(() => held.run({ kind: 'read' }))
    void it.send('alice')
    it.worker(0).answer()
    await turn()
    expect(it.worker(0).latest).toBe('carol')
    it.worker(0).answer()
    await whole
    await turn()
    expect(it.worker(0).latest).toBe('alice')
  })

  test('leaves a worker to the small, however many callers send large prompts', async () => {
    const it = stage({ workers: 2 })
    void it.send('alice', LARGE_BYTES + 1)
    void it.send('bob', LARGE_BYTES + 1)
    await turn()
    expect(it.worker(1).requests).toEqual([])
    void it.send('carol')
    expect(it.worker(1).latest).toBe('carol')
    it.worker(0).answer()
    await turn()
    expect(it.worker(0).latest).toBe('bob')
  })

  test('does not give the last worker to a large prompt while another is replaced', async () => {
    const it = stage({ workers: 2 })
    void it.send('alice', LARGE_BYTES + 1)
    void it.send('alice', LARGE_BYTES + 1)
    it.ring(workMs)
    await turn()
    expect(it.worker(1).requests).toEqual([])
    void it.send('carol')
    expect(it.worker(1).latest).toBe('carol')
    it.worker(2).emit('message', { kind: 'ready' })
    await turn()
    expect(it.worker(2).latest).toBe('alice')
  })

  test('comes to large prompts where there is one worker', async () => {
    const it = stage()
    const answer = it.send('alice', LARGE_BYTES + 1)
    it.worker(0).answer()
    expect(await answer).toBe('done')
  })
})

test('a pool that is closed fails what waits and what is under way', async () => {
  const it = stage()
  const answers = [it.send('alice'), it.send('bob')]
  await it.pool.close()
  expect(await answers[0]).toEqual(failure('the worker thread ended: it was closed'))
  expect(await answers[1]).toEqual(failure('the prompt reader is closed'))
  expect(() => it.hold('carol')).toThrow('the prompt reader is closed')
  await turn()
  expect(it.workers.length).toBe(1)
  expect(it.clocks.size).toBe(0)
})
