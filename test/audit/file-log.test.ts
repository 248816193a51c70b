import { execFileSync } from 'node:child_process'
import { readFileSync, renameSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { payloadOf } from '../../src/audit/chain.js'
import type { AuditLog } from '../../src/audit/record.js'
import { decision, faultyDisk, makeBench, noSpace } from './audit-fixture.js'

const ids = (records: readonly Record<string, unknown>[]): unknown[] =>
  records.filter((record) => record['type'] === 'decision').map((record) => record['auditId'])

/** How each append ended: its message, or `written`. */
async function outcomes(appends: readonly Promise<void>[]): Promise<string[]> {
  const settled = await Promise.allSettled(appends)
  return settled.map((one) =>
    one.status === 'fulfilled' ? 'written' : (one.reason as Error).message,
  )
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Lets file operations that are under way finish: until the condition holds. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turn()
}

describe('an append', () => {
  test('is in the file when it resolves', async () => {
    const bench = makeBench()
    const log = await bench.open()
    await log.append(decision('a'))
    expect(bench.records().map((record) => record['type'])).toEqual(['chain', 'decision'])
    expect(ids(bench.records())).toEqual(['a'])
    await log.close()
  })

  test('keeps the order in which it was made, and shares its write with others of the moment', async () => {
    const bench = makeBench()
    const { disk, openFile } = faultyDisk()
    const log = await bench.open({ openFile })
    const opening = disk.appends
    const names = Array.from({ length: 500 }, (_, at) => `id-${String(at)}`)
    await Promise.all(names.map((name) => log.append(decision(name))))
    expect(ids(bench.records())).toEqual(names)
    expect(disk.appends - opening).toBe(1)
    await log.close()
    expect(await bench.verify()).toMatchObject({ kind: 'intact', unprovedCount: 0 })
  })

  test('waits for the write under way and goes out with all that came meanwhile', async () => {
    const bench = makeBench()
    const { disk, openFile } = faultyDisk()
    const log = await bench.open({ openFile })
    let letGo = (): void => undefined
    const held = new Promise<void>((resolve) => (letGo = resolve))
    disk.append = async (bytes, real) => {
      await held
      return real.append(bytes)
    }
    const opening = disk.appends
    const first = log.append(decision('first'))
    await until(() => disk.appends === opening + 1)
    const later = Array.from({ length: 50 }, (_, at) => log.append(decision(String(at))))
    letGo()
    await Promise.all([first, ...later])
    expect(disk.appends - opening).toBe(2)
    await log.close()
  })

  test('of a record longer than a line may be is refused, and costs no other its place', async () => {
    const bench = makeBench()
    const log = await bench.open()
    const long = log.append({ ...decision('long'), detail: 'x'.repeat(70_000) })
    await expect(long).rejects.toThrow('the record is longer than a line may be')
    await log.append(decision('b'))
    expect(ids(bench.records())).toEqual(['b'])
    await log.close()
  })

  test('after close is refused', async () => {
    const bench = makeBench()
    const log = await bench.open()
    await log.close()
    await expect(log.append(decision('a'))).rejects.toThrow('the audit log is closed')
  })
})

describe('the file', () => {
  test('is readable by its owner alone', async () => {
    const bench = makeBench()
    const log = await bench.open()
    expect(statSync(bench.file).mode & 0o777).toBe(0o600)
    await log.close()
  })

  test('ends with a signed checkpoint after close, which standard output saw too', async () => {
    const bench = makeBench()
    const log = await bench.open()
    await log.append(decision('a'))
    await log.close()
    expect(bench.records().at(-1)).toMatchObject({ type: 'checkpoint' })
    expect(bench.checkpoints).toEqual([bench.lines().at(-1)])
  })

  test('gets a checkpoint after so many records', async () => {
    const bench = makeBench()
    const log = await bench.open({ checkpointEveryRecords: 10 })
    await Promise.all(Array.from({ length: 25 }, (_, at) => log.append(decision(String(at)))))
    // The header is a line as well: 26 of them.
    expect(bench.checkpoints.length).toBe(2)
    await log.close()
    expect(await bench.verify(bench.checkpoints)).toMatchObject({ checkpointCount: 3 })
  })

  test('gets a checkpoint after every 1,000 lines, unless told otherwise', async () => {
    const bench = makeBench()
    const log = await bench.open()
    const append = async (count: number): Promise<void> => {
      await Promise.all(Array.from({ length: count }, (_, at) => log.append(decision(String(at)))))
    }
    await append(998)
    expect(bench.checkpoints).toEqual([])
    await append(1)
    expect(bench.checkpoints.length).toBe(1)
    expect(
      bench
        .records()
        .map(({ type }) => type)
        .indexOf('checkpoint'),
    ).toBe(1000)
    await log.close()
  })

  test('gets a checkpoint after so much time, if anything came since the last', async () => {
    const bench = makeBench()
    const { disk, openFile } = faultyDisk()
    const log = await bench.open({ openFile })
    await log.append(decision('a'))
    bench.time.advance(60_000)
    await until(() => bench.checkpoints.length === 1)
    await turn()
    const looks = disk.looks
    bench.time.advance(60_000)
    await until(() => disk.looks > looks)
    await log.close()
    expect(bench.checkpoints.length).toBe(1)
    expect(await bench.verify(bench.checkpoints)).toMatchObject({ unprovedCount: 0 })
  })

  test('without a key has no checkpoints, and says so in its header', async () => {
    const bench = makeBench()
    const log = await bench.open({ keyFile: undefined, checkpointEveryRecords: 2 })
    for (const name of ['a', 'b', 'c']) await log.append(decision(name))
    await log.close()
    expect(bench.records()[0]).toMatchObject({ type: 'chain', key: null })
    expect(bench.checkpoints).toEqual([])
    expect(await bench.verify()).toMatchObject({
      kind: 'unproved',
      lack: 'checkpoint',
      provedCount: 0,
      unprovedCount: 4,
    })
  })
})

describe('a disk that is slow or full', () => {
  test('fails an append that is not written in time, and drops those that wait behind it', async () => {
    const bench = makeBench()
    const { disk, openFile } = faultyDisk()
    const log = await bench.open({ openFile, writeTimeoutMs: 200 })
    let letGo = (): void => undefined
    const held = new Promise<void>((resolve) => (letGo = resolve))
    const opening = disk.appends
    disk.append = async (bytes, real) => {
      await held
      return real.append(bytes)
    }
    const first = log.append(decision('under way'))
    await until(() => disk.appends === opening + 1)
    bench.time.advance(150)
    const waiting = log.append(decision('dropped'))
    const failed = outcomes([first, waiting])
    bench.time.advance(50)
    bench.time.advance(150)
    expect(await failed).toEqual(['not written within 200 ms', 'not written within 200 ms'])
    letGo()
    await log.append(decision('after'))
    // The write that was under way could not be taken back; the gap counts the one that was dropped.
    expect(ids(bench.records())).toEqual(['under way', 'after'])
    expect(bench.records().filter((record) => record['type'] === 'gap')).toMatchObject([
      { lostRecords: 1 },
    ])
    await log.close()
    expect(await bench.verify()).toMatchObject({ kind: 'intact', lostRecordCount: 1 })
  })

  test('lets no more wait than the queue may hold, by number and by bytes', async () => {
    const recordBytes = payloadOf(decision('0')).length
    for (const limit of [{ maxQueueRecords: 3 }, { maxQueueBytes: 3 * recordBytes }]) {
      const bench = makeBench()
      const log = await bench.open(limit)
      const appends = Array.from({ length: 5 }, (_, at) => log.append(decision(String(at))))
      const full = 'the queue of the audit log is full'
      expect(await outcomes(appends)).toEqual(['written', 'written', 'written', full, full])
      await log.append(decision('after'))
      await log.close()
      expect(await bench.verify()).toMatchObject({ kind: 'intact', lostRecordCount: 2 })
    }
  })

  test('goes on after partial writes', async () => {
    const bench = makeBench()
    const { disk, openFile } = faultyDisk()
    disk.append = (bytes, real) => real.append(bytes.subarray(0, 7))
    const log = await bench.open({ openFile })
    await Promise.all([log.append(decision('a')), log.append(decision('b'))])
    await log.close()
    expect(ids(bench.records())).toEqual(['a', 'b'])
    expect(await bench.verify()).toMatchObject({ kind: 'intact', unprovedCount: 0 })
  })

  test.each([0, 1, 300, 700])(
    'full after %d bytes: takes the rest back, fails, and goes on by itself with the gap recorded',
    async (fitBytes) => {
      const bench = makeBench()
      const { disk, openFile } = faultyDisk()
      const log = await bench.open({ openFile })
      await log.append(decision('before'))
      const before = readFileSync(bench.file, 'utf8')
      let leftBytes = fitBytes
      disk.append = async (bytes, real) => {
        if (leftBytes === 0) throw noSpace()
        const taken = await real.append(bytes.subarray(0, leftBytes))
        leftBytes -= taken
        return taken
      }
      const failed = await outcomes([
        log.append(decision('lost-1')),
        log.append(decision('lost-2')),
      ])
      expect(failed).toEqual(Array(2).fill('the audit file could not be written (ENOSPC)'))
      expect(readFileSync(bench.file, 'utf8')).toBe(before)
      disk.append = (bytes, real) => real.append(bytes)
      await log.append(decision('after'))
      await log.close()
      expect(ids(bench.records())).toEqual(['before', 'after'])
      expect(await bench.verify()).toMatchObject({ kind: 'intact', lostRecordCount: 2 })
    },
  )

  test('that does not even take the rest back: writes nothing more until it does', async () => {
    const bench = makeBench()
    const { disk, openFile } = faultyDisk()
    const log = await bench.open({ openFile })
    disk.append = async (bytes, real) => {
      await real.append(bytes.subarray(0, 50))
      throw noSpace()
    }
    disk.truncate = () => Promise.reject(noSpace())
    const full = 'the audit file could not be written (ENOSPC)'
    expect(await outcomes([log.append(decision('a'))])).toEqual([full])
    disk.append = (bytes, real) => real.append(bytes)
    expect(await outcomes([log.append(decision('b'))])).toEqual([full])
    disk.truncate = (sizeBytes, real) => real.truncate(sizeBytes)
    await log.append(decision('c'))
    await log.close()
    expect(ids(bench.records())).toEqual(['c'])
    expect(await bench.verify()).toMatchObject({ kind: 'intact', lostRecordCount: 2 })
  })

  test('does not keep close from ending', async () => {
    const bench = makeBench()
    const { disk, openFile } = faultyDisk()
    const log = await bench.open({ openFile })
    let letGo = (): void => undefined
    const held = new Promise<void>((resolve) => (letGo = resolve))
    disk.append = async (bytes, real) => {
      await held
      return real.append(bytes)
    }
    const appended = outcomes([log.append(decision('a'))])
    await turn()
    const closed = outcomes([log.close()])
    bench.time.advance(200)
    expect(await closed).toEqual(['not closed within 200 ms'])
    expect(await appended).toEqual(['not written within 200 ms'])
    // What it waited for still ends well, and lets the next one in.
    letGo()
    await until(() => bench.records().at(-1)?.['type'] === 'checkpoint')
    expect(await bench.verify()).toMatchObject({ kind: 'intact', unprovedCount: 0 })
  })

  test('that does not take the last checkpoint: close says so, and lets the next one in', async () => {
    const bench = makeBench()
    const { disk, openFile } = faultyDisk()
    const log = await bench.open({ openFile })
    await log.append(decision('a'))
    disk.append = () => Promise.reject(noSpace())
    const full = 'the audit file could not be written (ENOSPC)'
    expect(await outcomes([log.close()])).toEqual([full])
    const next = await bench.open()
    await next.close()
    expect(await bench.verify()).toMatchObject({ kind: 'intact', adoptedCount: 2 })
  })
})

describe('a file that is taken away', () => {
  async function withMove(move: (file: string) => void): Promise<{
    bench: ReturnType<typeof makeBench>
    log: AuditLog
  }> {
    const bench = makeBench()
    const log = await bench.open({ checkpointEveryRecords: 10 })
    for (let at = 0; at < 15; at += 1) await log.append(decision(`before-${String(at)}`))
    move(bench.file)
    for (let at = 0; at < 15; at += 1) await log.append(decision(`after-${String(at)}`))
    return { bench, log }
  }

  test('by rename: the chain goes on in a new file, and both together are one chain', async () => {
    const { bench, log } = await withMove((file) => renameSync(file, `${file}.1`))
    await log.close()
    const newest = bench.records()
    const old = readFileSync(`${bench.file}.1`, 'utf8')
    const lastOld = JSON.parse(old.trimEnd().split('\n').at(-1) ?? '') as Record<string, unknown>
    expect(newest[0]).toMatchObject({ type: 'chain', prev: lastOld['hash'] })
    const alone = { firstSeq: newest[0]?.['seq'] }
    expect(await bench.verify()).toMatchObject({ kind: 'unproved', lack: 'beginning', ...alone })
    expect(await bench.verify([], true)).toMatchObject({ kind: 'intact', ...alone })
    writeFileSync(bench.file, old + readFileSync(bench.file, 'utf8'))
    const together = await bench.verify(bench.checkpoints)
    expect(together).toMatchObject({ kind: 'intact', firstSeq: 0, unprovedCount: 0 })
  })

  test('by removal: the new file says which place it continues', async () => {
    const { bench, log } = await withMove((file) => rmSync(file))
    await log.close()
    expect(ids(bench.records())).toEqual(
      Array.from({ length: 15 }, (_, at) => `after-${String(at)}`),
    )
    expect(await bench.verify()).toMatchObject({ lack: 'beginning', firstSeq: 17 })
    expect(await bench.verify([], true)).toMatchObject({ kind: 'intact', firstSeq: 17 })
  })

  test('by truncation to nothing: says that, and passes for no later file of a chain', async () => {
    let copy = ''
    const { bench, log } = await withMove((file) => {
      copy = readFileSync(file, 'utf8')
      truncateSync(file)
    })
    await log.close()
    expect(bench.records()[0]).toMatchObject({ type: 'truncation', seq: 17 })
    for (const continues of [false, true]) {
      expect(await bench.verify([], continues)).toMatchObject({
        kind: 'unproved',
        lack: 'truncated_beginning',
        firstSeq: 17,
      })
    }
    // Whoever kept a copy can show that nothing is missing.
    writeFileSync(bench.file, copy + readFileSync(bench.file, 'utf8'))
    expect(await bench.verify(bench.checkpoints)).toMatchObject({ kind: 'intact', firstSeq: 0 })
  })

  test('by truncation and then by rename before anything could be written: says the truncation', async () => {
    const bench = makeBench()
    const { disk, openFile } = faultyDisk()
    const log = await bench.open({ openFile })
    await log.append(decision('a'))
    truncateSync(bench.file)
    disk.append = () => Promise.reject(noSpace())
    await outcomes([log.append(decision('b'))])
    renameSync(bench.file, `${bench.file}.1`)
    await outcomes([log.append(decision('c'))])
    disk.append = (bytes, real) => real.append(bytes)
    await log.append(decision('d'))
    renameSync(bench.file, `${bench.file}.2`)
    await log.append(decision('e'))
    await log.close()
    const second = readFileSync(`${bench.file}.2`, 'utf8')
    expect(JSON.parse(second.split('\n')[0] ?? '')).toMatchObject({ type: 'truncation' })
    expect(bench.records()[0]).toMatchObject({ type: 'chain' })
  })

  test('before anything was written to it, is begun as if it had not been there', async () => {
    const bench = makeBench()
    const { disk, openFile } = faultyDisk()
    const log = await bench.open({ openFile })
    renameSync(bench.file, `${bench.file}.1`)
    disk.append = () => Promise.reject(noSpace())
    await outcomes([log.append(decision('a'))])
    disk.append = (bytes, real) => real.append(bytes)
    await log.append(decision('b'))
    await log.close()
    expect(bench.records()[0]).toMatchObject({ type: 'chain', seq: 1 })
  })

  test('and replaced by what is no file: says so, and writes on when it is gone', async () => {
    const bench = makeBench()
    const log = await bench.open()
    renameSync(bench.file, `${bench.file}.1`)
    execFileSync('mkfifo', [bench.file])
    expect(await outcomes([log.append(decision('a'))])).toEqual([
      'the audit file could not be written (not a regular file)',
    ])
    rmSync(bench.file)
    await log.append(decision('b'))
    await log.close()
    expect(ids(bench.records())).toEqual(['b'])
  })

  test.each([
    ['bytes were added', (file: string) => writeFileSync(file, 'x\n', { flag: 'a' })],
    ['bytes were cut off', (file: string) => truncateSync(file, 1000)],
  ])(
    'not taken away but changed (%s): refuses to write until it is moved',
    async (_name, change) => {
      const bench = makeBench()
      const log = await bench.open()
      for (const name of ['a', 'b', 'c']) await log.append(decision(name))
      change(bench.file)
      const refusal = 'somebody else changed the file: move it away'
      expect(await outcomes([log.append(decision('d'))])).toEqual([refusal])
      renameSync(bench.file, `${bench.file}.changed`)
      await log.append(decision('e'))
      await log.close()
      expect(ids(bench.records())).toEqual(['e'])
      expect(await bench.verify([], true)).toMatchObject({ kind: 'intact', lostRecordCount: 1 })
    },
  )

  test('and replaced by one with content: that one is not touched', async () => {
    const bench = makeBench()
    const log = await bench.open()
    await log.append(decision('a'))
    renameSync(bench.file, `${bench.file}.1`)
    writeFileSync(bench.file, 'another')
    expect(await outcomes([log.append(decision('b'))])).toEqual([
      'another file with content stands at its path',
    ])
    expect(readFileSync(bench.file, 'utf8')).toBe('another')
    rmSync(bench.file)
    await log.append(decision('c'))
    await log.close()
    expect(ids(bench.records())).toEqual(['c'])
  })
})
