import { generateKeyPairSync } from 'node:crypto'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { startChild, waitUntilReady } from '../../deploy/demo/child.js'
import type { Child } from '../../deploy/demo/child.js'
import { renderKustomization, repository } from './kustomization.js'
import { containersOf, named, workloadsOf } from './workload.js'

const readText = (path: string): string => readFileSync(join(repository, path), 'utf8')

interface Instruction {
  readonly name: string
  readonly rest: string
}

/** The instructions of a Dockerfile, each of its lines joined. */
const instructions: readonly Instruction[] = readText('deploy/Dockerfile')
  .replace(/^\s*#.*\n/gm, '')
  .replace(/\\\n\s*/g, ' ')
  .split('\n')
  .filter((line) => line.trim() !== '')
  .map((line) => {
    const [name = '', ...rest] = line.split(' ')
    return { name, rest: rest.join(' ') }
  })

const all = (name: string, from = instructions): readonly string[] =>
  from.filter((instruction) => instruction.name === name).map(({ rest }) => rest)

const lastFrom = instructions.map(({ name }) => name).lastIndexOf('FROM')
const finalStage = instructions.slice(lastFrom)

/** `COPY` of the final stage: where from, in which stage or the build's directory, and where to below /app. */
const copies = all('COPY', finalStage).map((rest) => {
  const [, stage, source = '', target = ''] = /^(?:--from=(\S+) )?(\S+) (\S+)$/.exec(rest) ?? []
  return { stage, source, target: target === './' ? source : target.replace(/^\.\//, '') }
})

describe('the Dockerfile', () => {
  test('builds on one image with its full version, the Node that CI tests with', () => {
    const [base = ''] = all('ARG')
    const [, version] = /^NODE_IMAGE=node:(24\.\d+\.\d+)-[a-z]+-slim$/.exec(base) ?? []
    expect(version).toBe(/^node24_version := (\S+)$/m.exec(readText('Makefile'))?.[1])
    expect(all('FROM').map((from) => from.split(' ')[0])).toEqual(
      all('FROM').map(() => '${NODE_IMAGE}'),
    )
  })

  test('runs as the user that the manifests name, who owns nothing in it', () => {
    const { pod } = named(workloadsOf(renderKustomization('.')), 'llm-gateway')
    const { runAsUser, runAsGroup } = pod.securityContext as {
      runAsUser: number
      runAsGroup: number
    }
    expect(all('USER', finalStage)).toEqual([`${String(runAsUser)}:${String(runAsGroup)}`])
    expect(copies).not.toContainEqual(
      expect.objectContaining({ source: expect.stringContaining('--chown') as string }),
    )
  })

  test('lets no package run a script, and leaves development packages and package managers out', () => {
    const runs = all('RUN')
    const installs = runs.filter((run) => run.startsWith('npm '))
    expect(installs).toHaveLength(2)
    for (const install of installs) expect(install).toMatch(/^npm ci .*--ignore-scripts/)
    expect(installs.filter((install) => install.includes('--omit=dev'))).toHaveLength(1)
    expect(all('RUN', finalStage).join()).toMatch(/^rm -rf .*node_modules .*\/npm /)
  })

  test('copies what is in the repository and not ignored, or was made by a stage', () => {
    const ignored = readText('.dockerignore').split('\n')
    expect(ignored).toContain('*')
    const fromContext = all('COPY')
      .filter((rest) => !rest.startsWith('--from='))
      .flatMap((rest) => rest.split(' ').slice(0, -1))
    for (const source of fromContext) {
      expect(existsSync(join(repository, source)), source).toBe(true)
      expect(ignored).toContain(`!${source}`)
    }
    const stages = all('FROM').flatMap((from) => / AS (\S+)$/.exec(from)?.[1] ?? [])
    for (const { stage } of copies) if (stage !== undefined) expect(stages).toContain(stage)
  })

  test('starts what the manifest starts, at this version', () => {
    const tollgate = named(
      containersOf(named(workloadsOf(renderKustomization('.')), 'llm-gateway').pod),
      'tollgate',
    )
    expect(JSON.parse(all('ENTRYPOINT', finalStage)[0] ?? '')).toEqual(['node', '/app/dist/cli.js'])
    expect(JSON.parse(all('CMD', finalStage)[0] ?? '')).toEqual(tollgate.args)
    const { version } = JSON.parse(readText('package.json')) as { version: string }
    expect(tollgate.image).toBe(`tollgate:${version}`)
  })
})

describe('what the image holds', () => {
  const app = mkdtempSync(join(tmpdir(), 'tollgate-image-'))
  const running: Child[] = []
  afterAll(async () => {
    for (const child of running) await child.stop()
    rmSync(app, { recursive: true, force: true })
  })

  // node_modules as `npm ci --omit=dev` lays them out: the lock file says which are which.
  const { packages } = JSON.parse(readText('package-lock.json')) as {
    packages: Record<
      string,
      { dev?: boolean; devOptional?: boolean; optional?: boolean; link?: boolean }
    >
  }
  const production = Object.entries(packages)
    .filter(([path, { dev, devOptional }]) => path !== '' && dev !== true && devOptional !== true)
    .filter(([path, { optional }]) => optional !== true || existsSync(join(repository, path)))
    .map(([path]) => path)
  for (const { source, target } of copies) {
    if (target !== 'node_modules') {
      cpSync(join(repository, source.replace(/^\/app\//, '')), join(app, target), {
        recursive: true,
      })
    }
  }
  for (const path of production) {
    // What stands inside another package comes with it.
    if (path.lastIndexOf('node_modules/') > 0) continue
    mkdirSync(dirname(join(app, path)), { recursive: true })
    symlinkSync(join(repository, path), join(app, path))
  }

  test('is node_modules, dist, package.json and proto', () => {
    expect(copies.map(({ target }) => target).sort()).toEqual([
      'dist',
      'node_modules',
      'package.json',
      'proto',
    ])
  })

  test('is enough to answer: it starts, is healthy, and stops with 0', async () => {
    const state = join(app, 'state')
    mkdirSync(state)
    const { privateKey } = generateKeyPairSync('ed25519')
    writeFileSync(join(state, 'audit-key.pem'), privateKey.export({ format: 'pem', type: 'pkcs8' }))
    const metrics = `127.0.0.1:${String(await freePort())}`
    const policy = readText('deploy/kubernetes/policy.yaml')
      .replace('unix:///run/tollgate/', `unix://${state}/`)
      .replace('0.0.0.0:9192', metrics)
      .replace('127.0.0.1:9193', '127.0.0.1:0')
      .replace('/var/lib/tollgate/', `${state}/`)
      .replace('/run/secrets/tollgate/', `${state}/`)
      // An address of this machine where nobody listens: no keys, so not ready, but healthy.
      .replace('https://idp.example.com/realms/ml', 'https://127.0.0.1:1/realms/ml')
      // One encoding and one thread: most of a start is the loading of encodings.
      .replace('o200k_base', 'cl100k_base')
      .replace('limits: {', 'limits: { examinationWorkers: 1,')
    writeFileSync(join(state, 'policy.yaml'), policy)

    const child = await startChild({
      command: process.execPath,
      // A package looks for its own packages where the link stands, not where it leads to.
      args: [
        '--preserve-symlinks',
        join(app, 'dist', 'cli.js'),
        'serve',
        '--policy',
        join(state, 'policy.yaml'),
      ],
      logFile: join(state, 'log'),
      cwd: state,
    })
    running.push(child)
    const url = `http://${metrics}/healthz`
    await waitUntilReady({ name: 'Tollgate', child, url, timeoutMs: 25_000 })
    child.signal('SIGTERM')
    expect(await child.exited).toBe(0)
  })
})

async function freePort(): Promise<number> {
  const server = createServer()
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => {
        resolve(port)
      })
    })
  })
}
