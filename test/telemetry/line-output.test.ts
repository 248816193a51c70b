import { describe, expect, test } from 'vitest'
import { createLineOutput } from '../../src/telemetry/line-output.js'
import { manualTimers, settle } from '../config/manual-timers.js'

interface Try {
  readonly text: string
  /** How many of its bytes are taken; undefined: it fails. */
  answer(takenBytes: number | undefined): Promise<void>
}

/** A place that takes what the test says, when it says so. */
function place(maxWaitingBytes = 100_000) {
  const tries: Try[] = []
  const timers = manualTimers()
  /** Timers that will still run. */
  const armed = new Set<() => void>()
  let dropped = 0
  const output = createLineOutput({
    append: (bytes) =>
      new Promise((resolve, reject) => {
        tries.push({
          text: Buffer.from(bytes).toString(),
          async answer(takenBytes) {
            if (takenBytes === undefined) reject(new Error('ENOSPC'))
            else resolve(takenBytes)
            await settle()
          },
        })
      }),
    maxWaitingBytes,
    onDropped: () => (dropped += 1),
    after(delayMs, run) {
      const cancel = timers.after(delayMs, () => {
        armed.delete(cancel)
        run()
      })
      armed.add(cancel)
      return () => {
        armed.delete(cancel)
        cancel()
      }
    },
  })
  const last = (): Try => {
    const found = tries.at(-1)
    if (found === undefined) throw new Error('nothing was tried')
    return found
  }
  return { output, tries, last, timers, armed, dropped: () => dropped }
}

describe('lines', () => {
  test('are handed on at once, and those that come meanwhile together', async () => {
    const { output, tries, last } = place()
    output.write('a\n')
    expect(last().text).toBe('a\n')
    output.write('b\n')
    output.write('c\n')
    expect(tries.length).toBe(1)
    await last().answer(2)
    expect(last().text).toBe('b\nc\n')
    await last().answer(4)
    expect(output.waitingBytes()).toBe(0)
    output.write('d\n')
    expect(last().text).toBe('d\n')
  })

  test('go in pieces that a reader takes at a time', async () => {
    const { output, last } = place()
    const long = `${'x'.repeat(9_999)}\n`
    output.write('a\n')
    output.write(long)
    output.write(long)
    await last().answer(2)
    expect(last().text).toBe(long)
    await last().answer(10_000)
    expect(last().text).toBe(long)
  })

  test('of which a part was taken go on with the rest, byte by byte', async () => {
    const { output, last } = place()
    output.write('aéz\n')
    output.write('b\n')
    await last().answer(3)
    expect(last().text).toBe('z\n')
    expect(output.waitingBytes()).toBe(4)
    await last().answer(2)
    expect(last().text).toBe('b\n')
  })
})

describe('a place that takes nothing', () => {
  test.each([['fails', undefined] as const, ['takes no byte', 0] as const])(
    'and %s is asked again after a while, with the same bytes',
    async (_, answer) => {
      const { output, tries, last, timers } = place()
      output.write('a\n')
      await last().answer(answer)
      output.write('b\n')
      expect(tries.length).toBe(1)
      timers.advance(1)
      await settle()
      expect(tries.length).toBe(1)
      timers.advance(1)
      await settle()
      expect(tries.map(({ text }) => text)).toEqual(['a\n', 'a\n'])
      await last().answer(2)
      expect(last().text).toBe('b\n')
    },
  )

  test('is asked half as often each time, each 100 ms at last, and soon again once it took something', async () => {
    const { output, tries, last, timers } = place()
    output.write('abc\n')
    const expectPauses = async (...pausesMs: readonly number[]): Promise<void> => {
      for (const pauseMs of pausesMs) {
        await last().answer(0)
        const before = tries.length
        timers.advance(pauseMs - 1)
        await settle()
        expect(tries.length).toBe(before)
        timers.advance(1)
        await settle()
        expect(tries.length).toBe(before + 1)
      }
    }
    await expectPauses(2, 4, 8, 16, 32, 64, 100, 100)
    // What is taken in part is gone on with at once.
    await last().answer(1)
    expect(last().text).toBe('bc\n')
    await expectPauses(2, 4)
  })

  test('costs new lines beyond what may wait, and none once there is room', async () => {
    const { output, last, timers, dropped } = place(6)
    output.write('a\n')
    await last().answer(undefined)
    output.write('é\n')
    output.write('c\n')
    expect(dropped()).toBe(1)
    expect(output.waitingBytes()).toBe(5)
    timers.advance(100)
    await settle()
    await last().answer(2)
    output.write('d\n')
    expect(dropped()).toBe(1)
    await last().answer(3)
    expect(last().text).toBe('d\n')
  })
})

describe('the end', () => {
  async function ends(end: Promise<void>): Promise<boolean> {
    let ended = false
    void end.then(() => (ended = true))
    await settle()
    return ended
  }

  test('of nothing is at once', async () => {
    const { output, armed } = place()
    expect(await ends(output.end(1000))).toBe(true)
    // A timer would keep the process.
    expect(armed.size).toBe(0)
  })

  test('waits until all is taken', async () => {
    const { output, tries, last } = place()
    output.write('a\n')
    output.write('b\n')
    const end = output.end(1000)
    await last().answer(2)
    expect(await ends(end)).toBe(false)
    await last().answer(2)
    expect(await ends(end)).toBe(true)
    expect(tries.length).toBe(2)
  })

  test('asks again as before', async () => {
    const { output, last, timers } = place()
    output.write('a\n')
    await last().answer(undefined)
    const end = output.end(1000)
    timers.advance(100)
    await settle()
    await last().answer(2)
    expect(await ends(end)).toBe(true)
  })

  test('waits no longer than told for a place that takes nothing, and asks no more', async () => {
    const { output, tries, last, timers, armed, dropped } = place()
    output.write('a\n')
    for (const pauseMs of [2, 4, 8, 16, 32, 64]) {
      await last().answer(undefined)
      timers.advance(pauseMs)
      await settle()
    }
    // It waits for 100 ms now.
    await last().answer(undefined)
    const asked = tries.length
    output.write('b\n')
    const end = output.end(50)
    timers.advance(49)
    expect(await ends(end)).toBe(false)
    timers.advance(1)
    expect(await ends(end)).toBe(true)
    expect(output.waitingBytes()).toBe(0)
    expect(armed.size).toBe(0)
    timers.advance(1000)
    await settle()
    output.write('c\n')
    expect(dropped()).toBe(1)
    expect(tries.length).toBe(asked)
  })

  test('waits no longer for a try that does not return, and does nothing when it does', async () => {
    const { output, tries, last, timers } = place()
    output.write('a\n')
    output.write('b\n')
    const end = output.end(50)
    timers.advance(50)
    expect(await ends(end)).toBe(true)
    await last().answer(1)
    expect(output.waitingBytes()).toBe(0)
    expect(tries.length).toBe(1)
  })
})

describe('the last try of a process that ends at once', () => {
  /** A function that takes three bytes at a time. */
  function taker() {
    let text = ''
    const take = (bytes: Uint8Array): number => {
      const taken = bytes.subarray(0, 3)
      text += Buffer.from(taken).toString()
      return taken.length
    }
    return { take, text: () => text }
  }

  test('has all that no try under way has', () => {
    const { output } = place()
    const { take, text } = taker()
    output.write('a\n')
    output.write('b\n')
    output.write(`${'x'.repeat(20_000)}\n`)
    output.writeNow(take)
    expect(text()).toBe(`b\n${'x'.repeat(20_000)}\n`)
  })

  test('is not made where the one before has failed', async () => {
    const { output, last } = place()
    const { take, text } = taker()
    output.write('a\n')
    await last().answer(undefined)
    output.write('b\n')
    output.writeNow(take)
    expect(text()).toBe('')
  })

  test('has nothing of what was let go', async () => {
    const { output, timers } = place()
    const { take, text } = taker()
    output.write('a\n')
    output.write('b\n')
    const end = output.end(50)
    timers.advance(50)
    await end
    output.writeNow(take)
    expect(text()).toBe('')
  })

  test('is the last', () => {
    const { output } = place()
    output.write('a\n')
    output.write('b\n')
    let tries = 0
    output.writeNow(() => {
      tries += 1
      throw new Error('ENOSPC')
    })
    expect(tries).toBe(1)
  })
})
