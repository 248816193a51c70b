import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { readInWorker } from '../../../src/config/load-in-worker.js'
import { loadRateLimits } from '../../../src/config/rate-limits/load.js'
import { loadRateLimitsInWorker, watchRateLimits } from '../../../src/config/rate-limits/watch.js'
import type {
  RateLimitWatch,
  RateLimitWatchOptions,
} from '../../../src/config/rate-limits/watch.js'
import { ConfigError, formatWarning } from '../../../src/errors.js'
import type { Piece } from '../../../src/config/rate-limits/pieces.js'
import type { RateLimitConfig } from '../../../src/ratelimit/tree.js'
import { manualTimers, settle } from '../manual-timers.js'

const opened: RateLimitWatch[] = []
afterEach(() => {
  for (const watch of opened.splice(0)) watch.close()
})

const directory = (): string => mkdtempSync(join(tmpdir(), 'tollgate-limits-'))
const domainsOf = ({ domains }: RateLimitConfig): string => [...domains.keys()].join(' ')

function start(configDir: string, overrides: Partial<RateLimitWatchOptions> = {}) {
  const settings = { configDir, mergeDomains: false }
  const timers = manualTimers()
  const events: string[] = []
  let notice: (fileName: string | null) => void = () => undefined
  const watch = watchRateLimits(settings, {
    running: loadRateLimits(settings),
    onConfig: (config) => events.push(`domains ${domainsOf(config)}`),
    onFault: (error) => events.push(error.message.replaceAll(configDir, 'DIR')),
    timers,
    watchDirectory: (_, onChange) => {
      notice = onChange
      return () => undefined
    },
    ...overrides,
  })
  opened.push(watch)
  return {
    watch,
    events,
    notice: () => {
      notice('a.yaml')
    },
    pass: async (ms: number) => {
      timers.advance(ms)
      await settle()
    },
  }
}

describe('a directory of rate limit files', () => {
  test('takes effect by the poll, whatever changed in it, within two seconds', async () => {
    const path = directory()
    const { events, pass } = start(path)
    writeFileSync(join(path, 'a.yaml'), 'domain: a')
    await pass(2000)
    mkdirSync(join(path, 'below'))
    writeFileSync(join(path, 'below', 'b.yaml'), 'domain: b')
    await pass(2000)
    writeFileSync(join(path, 'a.yaml'), 'domain: c')
    await pass(2000)
    rmSync(join(path, 'a.yaml'))
    await pass(2000)
    await pass(10_000)
    expect(events).toEqual(['domains a', 'domains a b', 'domains c b', 'domains b'])
  })

  test('takes effect sooner after a notice', async () => {
    const path = directory()
    const { events, pass, notice } = start(path)
    writeFileSync(join(path, 'a.yaml'), 'domain: a')
    notice()
    await pass(20)
    expect(events).toEqual([])
    await pass(200)
    expect(events).toEqual(['domains a'])
  })

  test('takes effect when Kubernetes swaps it', async () => {
    const path = directory()
    const version = (name: string, domain: string): void => {
      mkdirSync(join(path, name))
      writeFileSync(join(path, name, 'a.yaml'), `domain: ${domain}`)
      symlinkSync(name, join(path, '..data_tmp'))
      renameSync(join(path, '..data_tmp'), join(path, '..data'))
    }
    version('..2026_01', 'one')
    symlinkSync(join('..data', 'a.yaml'), join(path, 'a.yaml'))
    const { events, pass } = start(path)
    version('..2026_02', 'two')
    rmSync(join(path, '..2026_01'), { recursive: true })
    await pass(2000)
    expect(events).toEqual(['domains two'])
  })

  test('is not taken while it is being written', async () => {
    const path = directory()
    const { events, pass } = start(path)
    writeFileSync(join(path, 'a.yaml'), 'domain: a')
    await pass(1000)
    writeFileSync(join(path, 'b.yaml'), 'domain: b')
    await pass(200)
    expect(events).toEqual([])
    await pass(200)
    expect(events).toEqual(['domains a b'])
  })

  test('is told of with its warnings, once per change, and not beside a fault', async () => {
    const path = directory()
    const twice = 'domain: a\ndomain: b'
    writeFileSync(join(path, 'a.yaml'), twice)
    const told: (readonly string[])[] = []
    const { pass, watch, events } = start(path, {
      onConfig: (_, warnings) => {
        told.push(warnings.map(formatWarning))
      },
    })
    await pass(10_000)
    watch.reload()
    await pass(10_000)
    expect(told).toEqual([])
    writeFileSync(join(path, 'b.yaml'), 'domain: c')
    await pass(10_000)
    expect(told).toEqual([
      [
        `${path}/a.yaml:2: domain is given again (this one holds); expected each key once: the first is on line 1`,
      ],
    ])
    writeFileSync(join(path, 'c.yaml'), 'domain: tollgate')
    await pass(10_000)
    expect(told).toHaveLength(1)
    expect(events).toHaveLength(1)
    expect(events[0]).toMatch(/^DIR\/c\.yaml:1: domain is tollgate/)
    rmSync(join(path, 'c.yaml'))
    writeFileSync(join(path, 'a.yaml'), 'domain: a')
    await pass(10_000)
    expect(told.slice(1)).toEqual([[]])
  })

  test('with a fault is told of once, and mended by the next change', async () => {
    const path = directory()
    writeFileSync(join(path, 'a.yaml'), 'domain: a')
    const { events, pass } = start(path)
    writeFileSync(join(path, 'b.yaml'), 'domain: a')
    await pass(10_000)
    const fault =
      'DIR/b.yaml:1: domain is a; expected a domain of its own, or mergeDomains: true: duplicate domain, it is also that of DIR/a.yaml:1'
    expect(events).toEqual([fault])
    writeFileSync(join(path, 'b.yaml'), 'domain: b')
    await pass(2000)
    expect(events).toEqual([fault, 'domains a b'])
  })

  test('that goes away is told of once', async () => {
    const path = directory()
    const { events, pass } = start(path)
    rmSync(path, { recursive: true })
    await pass(10_000)
    expect(events).toEqual(['DIR: expected a readable directory; there is none'])
    mkdirSync(path)
    await pass(2000)
    expect(events).toHaveLength(2)
  })

  test.each(['good', 'bad'])('that changes while it is read is read again (%s)', async (half) => {
    const path = directory()
    let loads = 0
    const { events, pass } = start(path, {
      load: (settings) => {
        loads += 1
        if (loads === 1) writeFileSync(join(path, 'b.yaml'), 'domain: b')
        if (loads === 1 && half === 'bad') throw new ConfigError([])
        return loadRateLimits(settings)
      },
    })
    writeFileSync(join(path, 'a.yaml'), 'domain: a')
    await pass(1200)
    expect(loads).toBe(1)
    expect(events).toEqual([])
    await pass(2000)
    expect(events).toEqual(['domains a b'])
  })

  test.each(['between two looks', 'while they are read'])(
    'that keeps changing %s is told of after 10 s, once until it is read',
    async (when) => {
      const path = directory()
      let changes = 0
      let nowMs = 0
      let isRestless = true
      const change = (): void => {
        changes += 1
        if (isRestless)
          writeFileSync(join(path, `${String(changes)}.yaml`), `domain: d${String(changes)}`)
      }
      const events: string[] = []
      const { pass } = start(path, {
        clock: { monotonicMs: () => nowMs },
        onRestless: () => events.push(`restless at ${String(nowMs)}`),
        onConfig: () => events.push('loaded'),
        load: (settings) => {
          if (when === 'while they are read') change()
          return loadRateLimits(settings)
        },
      })
      const goOn = async (untilMs: number): Promise<void> => {
        while (nowMs < untilMs) {
          nowMs += 200
          if (when === 'between two looks') change()
          await pass(200)
        }
      }
      change()
      // The first look is at 1 s.
      await goOn(10_800)
      expect(events).toEqual([])
      await goOn(30_000)
      expect(events).toEqual([expect.stringMatching(/^restless at 1[12]\d00$/)])
      isRestless = false
      await goOn(33_000)
      expect(events.slice(1)).toEqual(['loaded'])
      await goOn(60_000)
      expect(events).toHaveLength(2)
      isRestless = true
      change()
      await goOn(80_000)
      expect(events.slice(2)).toEqual([expect.stringMatching(/^restless at /)])
    },
  )

  test('that changes before each look, but is read each time, is not told of as changing', async () => {
    const path = directory()
    let nowMs = 0
    const events: string[] = []
    const { pass } = start(path, {
      clock: { monotonicMs: () => nowMs },
      onRestless: () => events.push('restless'),
      onConfig: () => events.push('loaded'),
    })
    for (let change = 1; change <= 20; change += 1) {
      writeFileSync(join(path, `${String(change)}.yaml`), `domain: d${String(change)}`)
      // A poll, and the second look.
      for (const ms of [1000, 200]) {
        nowMs += ms
        await pass(ms)
      }
    }
    expect(events).toEqual(Array.from({ length: 20 }, () => 'loaded'))
  })

  test('is read at once where that is asked for, if it has changed', async () => {
    const path = directory()
    const events: string[] = []
    const { watch } = start(path, {
      onConfig: (config) => events.push(`domains ${domainsOf(config)}`),
      onUnchanged: () => events.push('unchanged'),
    })
    watch.reload()
    await settle()
    expect(events).toEqual(['unchanged'])
    writeFileSync(join(path, 'a.yaml'), 'domain: a')
    watch.reload()
    await settle()
    expect(events).toEqual(['unchanged', 'domains a'])
  })

  test('is told again where that is asked for, if it was refused', async () => {
    const path = directory()
    const events: string[] = []
    const { watch } = start(path, {
      onConfig: (config) => events.push(`domains ${domainsOf(config)}`),
      onFault: () => events.push('refused'),
      onUnchanged: () => events.push('unchanged'),
    })
    writeFileSync(join(path, 'a.yaml'), 'domain: [')
    for (let times = 0; times < 2; times += 1) {
      watch.reload()
      await settle()
    }
    writeFileSync(join(path, 'a.yaml'), 'domain: a')
    for (let times = 0; times < 2; times += 1) {
      watch.reload()
      await settle()
    }
    expect(events).toEqual(['refused', 'refused', 'domains a', 'unchanged'])
  })

  test('is not told of after the end', async () => {
    const path = directory()
    const { events, watch, pass } = start(path)
    writeFileSync(join(path, 'a.yaml'), 'domain: a')
    watch.reload()
    watch.close()
    watch.reload()
    await pass(10_000)
    expect(events).toEqual([])
  })

  test('is followed with the notices of the system, too', async () => {
    const path = directory()
    const settings = { configDir: path, mergeDomains: false }
    const told = new Promise<string>((resolve) => {
      opened.push(
        watchRateLimits(settings, {
          running: loadRateLimits(settings),
          onConfig: (config) => {
            resolve(domainsOf(config))
          },
          onFault: () => undefined,
        }),
      )
    })
    writeFileSync(join(path, 'a.yaml'), 'domain: a')
    expect(await told).toBe('a')
  })
})

describe('a thread', () => {
  // It runs the built program.
  const workerFile = new URL('../../../dist/config/rate-limits/load-worker.js', import.meta.url)

  test('reads the same', async () => {
    const path = directory()
    writeFileSync(
      join(path, 'a.yaml'),
      'domain: a\ndescriptors: [{ key: k, value: "a*b*", rate_limit: { unit: day }, metadata: { m: 1 } }]',
    )
    const settings = { configDir: path, mergeDomains: false }
    expect(await loadRateLimitsInWorker(settings, workerFile)).toEqual(loadRateLimits(settings))
  })

  test('hands over warnings, as many as are told', async () => {
    const path = directory()
    const again = '- { key: k, key: l, value: !own v }\n'
    for (const name of ['a', 'b']) {
      writeFileSync(join(path, name), `domain: ${name}\ndescriptors:\n${again.repeat(75)}`)
    }
    // Their composite keys are the same, which is another matter.
    const settings = { configDir: path, mergeDomains: false }
    await expect(loadRateLimitsInWorker(settings, workerFile)).rejects.toThrow(/duplicate/)
    for (const name of ['a', 'b']) {
      const list = Array.from({ length: 75 }, (_, index) =>
        again.replace('!own v', `!own v${String(index)}`),
      )
      writeFileSync(join(path, name), `domain: ${name}\ndescriptors:\n${list.join('')}`)
    }
    const { warnings } = await loadRateLimitsInWorker(settings, workerFile)
    expect(warnings).toEqual(loadRateLimits(settings).warnings)
    expect(warnings).toHaveLength(201)
    expect(warnings.map(formatWarning)[200]).toBe(
      `${path}: expected fewer warnings: 100 more are not listed`,
    )
  })

  test('hands over what is large in pieces, between which this one does something else', async () => {
    const path = directory()
    const keys = Array.from({ length: 1000 }, (_, index) => `  - { key: k${String(index)} }`)
    writeFileSync(join(path, 'a.yaml'), `domain: a\ndescriptors:\n${keys.join('\n')}`)
    const settings = { configDir: path, mergeDomains: false }
    let turn = 0
    let running = true
    const next = (): void => {
      turn += 1
      if (running) setImmediate(next)
    }
    next()
    const turns: number[] = []
    const pieces: Piece[] = []
    await readInWorker<string, Piece>(settings, {
      workerFile,
      file: path,
      what: 'files',
      onPiece: (piece) => {
        turns.push(turn)
        pieces.push(piece)
      },
    })
    running = false
    expect(pieces.map(({ length }) => length)).toEqual([200, 200, 200, 200, 200, 1])
    expect(new Set(turns).size).toBe(pieces.length)
    expect(await loadRateLimitsInWorker(settings, workerFile)).toEqual(loadRateLimits(settings))
  })

  test('reads files of one domain again, too, where they are merged', async () => {
    const path = directory()
    const settings = { configDir: path, mergeDomains: true }
    const fileOf = (key: string): string => `domain: a\ndescriptors: [{ key: ${key} }]`
    writeFileSync(join(path, 'a.yaml'), fileOf('one'))
    writeFileSync(join(path, 'b.yaml'), fileOf('two'))
    const told = new Promise<RateLimitConfig>((resolve, reject) => {
      const watch = watchRateLimits(settings, {
        running: loadRateLimits(settings),
        load: (files) => loadRateLimitsInWorker(files, workerFile),
        onConfig: resolve,
        onFault: reject,
      })
      opened.push(watch)
      writeFileSync(join(path, 'c.yaml'), fileOf('three'))
      watch.reload()
    })
    expect([...((await told).domains.get('a')?.nodes.keys() ?? [])]).toEqual([
      'one',
      'two',
      'three',
    ])
  })

  test('finds the same faults', async () => {
    const path = directory()
    writeFileSync(join(path, 'a.yaml'), 'domain: tollgate')
    const settings = { configDir: path, mergeDomains: false }
    const refusal = loadRateLimitsInWorker(settings, workerFile)
    await expect(refusal).rejects.toBeInstanceOf(ConfigError)
    await expect(refusal).rejects.toThrow(/a\.yaml:1: domain is tollgate; expected a domain other/)
  })
})
