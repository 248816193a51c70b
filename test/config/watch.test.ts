import { execFileSync } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { readConfig } from '../../src/config/load.js'
import { watchConfig } from '../../src/config/watch.js'
import type { ConfigWatch, WatchOptions } from '../../src/config/watch.js'
import { manualTimers, settle } from './manual-timers.js'

const good = readFileSync(new URL('fixtures/smallest.yaml', import.meta.url), 'utf8')

function withLimit(limit: number, head = ''): string {
  return head + good.replace('limit: 60000', `limit: ${String(limit)}`)
}

const opened: ConfigWatch[] = []
afterEach(() => {
  for (const watch of opened.splice(0)) watch.close()
})

function start(path: string, overrides: Partial<WatchOptions> = {}) {
  const timers = manualTimers()
  const events: string[] = []
  let notice: (fileName: string | null) => void = () => undefined
  const watch = watchConfig(path, {
    running: readConfig(path),
    onConfig: (config, needRestart) => {
      const restart = needRestart.length === 0 ? '' : `, at restart: ${needRestart.join(' ')}`
      events.push(`limit ${String(config.policy.quotas[0]?.limit)}${restart}`)
    },
    onFault: (error) => events.push(`fault ${error.message.replaceAll(path, 'FILE')}`),
    onUnchanged: () => events.push('unchanged'),
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
    notice: (fileName: string | null) => {
      notice(fileName)
    },
    pass: async (ms: number) => {
      timers.advance(ms)
      await settle()
    },
  }
}

function directory(): string {
  return mkdtempSync(join(tmpdir(), 'tollgate-watch-'))
}

function policyFile(text = good): string {
  const path = join(directory(), 'policy.yaml')
  writeFileSync(path, text)
  return path
}

describe('a changed policy file', () => {
  test('takes effect without a notice, by the poll, within two seconds', async () => {
    const path = policyFile()
    const { events, pass } = start(path)
    writeFileSync(path, withLimit(1))
    await pass(2000)
    expect(events).toEqual(['limit 1'])
  })

  test('takes effect sooner after a notice', async () => {
    const path = policyFile()
    const { events, pass, notice } = start(path)
    writeFileSync(path, withLimit(2))
    notice('policy.yaml')
    await pass(250)
    expect(events).toEqual(['limit 2'])
  })

  test('takes effect once, however often it is looked at', async () => {
    const path = policyFile()
    const { events, pass, notice } = start(path)
    writeFileSync(path, withLimit(3))
    for (let round = 0; round < 20; round += 1) {
      notice('policy.yaml')
      await pass(300)
    }
    expect(events).toEqual(['limit 3'])
  })

  test('is left alone when only its times change', async () => {
    const path = policyFile()
    const { events, pass, notice } = start(path)
    utimesSync(path, 1, 1)
    notice('policy.yaml')
    await pass(5000)
    expect(events).toEqual([])
  })

  test('may be replaced by a rename', async () => {
    const path = policyFile()
    const { events, pass, notice } = start(path)
    writeFileSync(`${path}.new`, withLimit(4))
    renameSync(`${path}.new`, path)
    notice('policy.yaml')
    await pass(300)
    expect(events).toEqual(['limit 4'])
  })

  test('may be swapped as Kubernetes swaps a ConfigMap: by the link ..data', async () => {
    const root = directory()
    for (const [version, limit] of [
      ['..v1', 5],
      ['..v2', 6],
    ] as const) {
      mkdirSync(join(root, version))
      writeFileSync(join(root, version, 'policy.yaml'), withLimit(limit))
    }
    symlinkSync('..v1', join(root, '..data'))
    symlinkSync('..data/policy.yaml', join(root, 'policy.yaml'))
    const { events, pass, notice } = start(join(root, 'policy.yaml'))
    symlinkSync('..v2', join(root, '..data_tmp'))
    renameSync(join(root, '..data_tmp'), join(root, '..data'))
    rmSync(join(root, '..v1'), { recursive: true })
    notice('..data')
    await pass(300)
    expect(events).toEqual(['limit 6'])
  })

  test('names the settings that wait for a restart, and keeps the running body cap', async () => {
    const path = policyFile()
    const caps: number[] = []
    const { events, pass } = start(path, {
      onConfig: (config, needRestart) => {
        caps.push(config.policy.maxBodyBytes)
        events.push(needRestart.join(' '))
      },
    })
    writeFileSync(
      path,
      withLimit(
        7,
        'listen: { metrics: 127.0.0.1:1 }\nlimits: { maxBodyBytes: 2048 }\naudit: { file: a, keyFile: b }\n',
      ),
    )
    await pass(2000)
    expect(events).toEqual(['listen.metrics audit limits.maxBodyBytes'])
    expect(caps).toEqual([8_388_608])
  })
})

describe('a half-written policy file', () => {
  test('is not taken while it grows, though each state may be a policy of its own', async () => {
    const path = policyFile()
    const { events, pass, notice } = start(path)
    // Without its last quota it would be valid, and without limit.
    for (const limit of [10, 11, 12, 13]) {
      writeFileSync(path, withLimit(limit))
      notice('policy.yaml')
      await pass(150)
    }
    expect(events).toEqual([])
    await pass(400)
    expect(events).toEqual(['limit 13'])
  })

  test('reports no fault for the moment in which it is empty', async () => {
    const path = policyFile()
    const { events, pass, notice } = start(path)
    truncateSync(path)
    notice('policy.yaml')
    await pass(100)
    writeFileSync(path, withLimit(14))
    await pass(1000)
    expect(events).toEqual(['limit 14'])
  })
})

describe('a bad policy file', () => {
  test('is reported once with every fault, and the next good one is taken', async () => {
    const path = policyFile()
    const { events, pass } = start(path)
    writeFileSync(path, `${withLimit(0)}unknown: 1\n`)
    await pass(10_000)
    expect(events).toEqual([
      [
        'fault FILE:11: quotas[0].limit is 0; expected a whole number of units from 1 to 9007199254740991, or of unit cost an amount as 25.50',
        'FILE:12: unknown is unknown; expected one of listen, ledger, inspection, audit, limits, cors, drain, log, maxStreamMs, leaseMs, keepCredential, rateLimitService, issuers, apiKeys, models, paths, grants, quotas',
      ].join('\n'),
    ])
    writeFileSync(path, withLimit(15))
    await pass(2000)
    expect(events.slice(1)).toEqual(['limit 15'])
  })

  test('that returns to what ran before is taken again', async () => {
    const path = policyFile()
    const { events, pass } = start(path)
    writeFileSync(path, 'x: 1\n')
    await pass(2000)
    writeFileSync(path, good)
    await pass(2000)
    expect(events.slice(1)).toEqual(['limit 60000'])
  })

  test('may be no file at all', async () => {
    const path = policyFile()
    const { events, pass } = start(path)
    rmSync(path)
    await pass(10_000)
    expect(events).toEqual(['fault FILE: expected a readable file; there is none'])
  })

  test('may be a pipe or a device, which nobody waits for', async () => {
    // A pipe without a writer would hold this process up for ever; a device ends at once, and shows the same rule.
    const path = policyFile()
    const { events, pass } = start(path)
    rmSync(path)
    symlinkSync('/dev/null', path)
    await pass(2000)
    expect(events).toEqual(['fault FILE: expected a readable file (not a regular file)'])
    rmSync(path)
    execFileSync('mkfifo', [path])
    await pass(2000)
    writeFileSync(`${path}.new`, withLimit(16))
    renameSync(`${path}.new`, path)
    await pass(2000)
    expect(events.slice(1)).toEqual(['limit 16'])
  })

  test('may be one that cannot be applied; then the one that ran is still what runs', async () => {
    const path = policyFile()
    const { events, pass, watch } = start(path, {
      onConfig: () => {
        throw new Error('no such certificate')
      },
    })
    writeFileSync(path, withLimit(16))
    await pass(2000)
    const fault = 'fault FILE: expected a policy that can be applied (no such certificate)'
    expect(events).toEqual([fault])
    // Asked for again, it is tried again.
    watch.reload()
    await settle()
    expect(events).toEqual([fault, fault])
  })
})

describe('reload', () => {
  test('takes the file at once', async () => {
    const path = policyFile()
    const { events, watch } = start(path)
    writeFileSync(path, withLimit(17))
    watch.reload()
    await settle()
    expect(events).toEqual(['limit 17'])
  })

  test('says that nothing changed', async () => {
    const { events, watch } = start(policyFile())
    watch.reload()
    await settle()
    expect(events).toEqual(['unchanged'])
  })

  test('never lets an older file overtake a newer one that loads faster', async () => {
    const path = policyFile()
    const waiting: (() => void)[] = []
    const { events, watch } = start(path, {
      load: (file) => {
        const config = readConfig(file)
        return new Promise((resolve) => {
          waiting.push(() => {
            resolve(config)
          })
        })
      },
    })
    writeFileSync(path, withLimit(18))
    watch.reload()
    await settle()
    writeFileSync(path, withLimit(19))
    watch.reload()
    await settle()
    expect(waiting).toHaveLength(1)
    waiting[0]?.()
    await settle()
    waiting[1]?.()
    await settle()
    expect(events).toEqual(['limit 18', 'limit 19'])
  })
})

describe('the watch itself', () => {
  test('does not read for notices of other files', async () => {
    const path = policyFile()
    const { events, pass, notice } = start(path)
    writeFileSync(path, withLimit(20))
    for (let round = 0; round < 50; round += 1) {
      notice('audit.jsonl')
      await pass(10)
    }
    expect(events).toEqual([])
  })

  test('is quiet after close', async () => {
    const path = policyFile()
    const { events, pass, watch, notice } = start(path)
    watch.close()
    writeFileSync(path, withLimit(21))
    notice('policy.yaml')
    watch.reload()
    await pass(5000)
    expect(events).toEqual([])
  })

  test('sees a real change by the real directory and timers', async () => {
    const path = policyFile()
    const taken = new Promise<number | undefined>((resolve) => {
      opened.push(
        watchConfig(path, {
          running: readConfig(path),
          onConfig: (config) => {
            resolve(config.policy.quotas[0]?.limit)
          },
          onFault: () => undefined,
        }),
      )
    })
    writeFileSync(path, withLimit(22))
    expect(await taken).toBe(22)
  })
})
