import { generateKeyPairSync } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startChild, waitUntilReady } from './child.js'
import type { Child } from './child.js'

const repository = fileURLToPath(new URL('../..', import.meta.url))
const builtProgram = join(repository, 'dist', 'cli.js')

/** Where the parts of a demo are: what differs from `policy.yaml` as written. */
export interface TollgatePlaces {
  readonly socket: string
  readonly metricsPort: number
  readonly adminPort: number
  readonly issuer: string
  /** Of the Redis that keeps the ledger; absent: the policy names none. */
  readonly redisSocket?: string | undefined
}

export interface Tollgate {
  readonly child: Child
  /** Its gRPC address, a path. */
  readonly socket: string
  readonly metricsUrl: string
  readonly adminUrl: string
  readonly policyFile: string
  readonly auditFile: string
  /** PEM of the key that its checkpoints are signed with: what `tollgate verify-audit` wants. */
  readonly auditPublicKeyFile: string
}

/** Where a policy for `startTollgate` has its Redis. */
export const demoRedisUrl = 'unix:///tmp/tollgate-demo/redis.sock'

/** The demo's policy as written. */
export async function readDemoPolicy(): Promise<string> {
  return readFile(join(repository, 'deploy', 'demo', 'policy.yaml'), 'utf8')
}

/** The demo's policy for several processes, which share their limits. */
export async function readSharedDemoPolicy(): Promise<string> {
  let policy = await readDemoPolicy()
  const changes = [
    [/^#.*\nledger: \{ kind: memory \}$/m, `ledger: { kind: redis, url: '${demoRedisUrl}' }`],
    // A process does not hear of a report that came to the other, and waits for it to the end.
    [/\bdeadlineMs: 10000\b/, 'deadlineMs: 1000'],
  ] as const
  for (const [written, shared] of changes) {
    if (!written.test(policy)) throw new Error(`the policy no longer holds ${String(written)}`)
    policy = policy.replace(written, shared)
  }
  return policy
}

/**
 * Writes the policy into `directory`, starts the built program with it and waits until it is ready.
 *
 * @param policy a policy with the addresses of `policy.yaml`
 * @throws Error one of those addresses is not in it any more, or the program does not start
 */
export async function startTollgate(
  directory: string,
  places: TollgatePlaces,
  policy: string,
): Promise<Tollgate> {
  if (!existsSync(builtProgram)) throw new Error('dist/cli.js is missing: run `make build` first')
  const auditFile = join(directory, 'audit.jsonl')
  const auditKeyFile = join(directory, 'audit-key.pem')
  const auditPublicKeyFile = join(directory, 'audit-key.pub')
  if (!existsSync(auditKeyFile)) await writeAuditKey(auditKeyFile, auditPublicKeyFile)

  let rendered = policy
  const changes: (readonly [string, string])[] = [
    ['unix:///tmp/tollgate-demo/tollgate.sock', `unix://${places.socket}`],
    ['127.0.0.1:9192', `127.0.0.1:${String(places.metricsPort)}`],
    ['127.0.0.1:9193', `127.0.0.1:${String(places.adminPort)}`],
    ['http://127.0.0.1:9400', places.issuer],
    ['/tmp/tollgate-demo/audit.jsonl', auditFile],
    ['/tmp/tollgate-demo/audit-key.pem', auditKeyFile],
  ]
  if (places.redisSocket !== undefined) {
    changes.push([demoRedisUrl, `unix://${places.redisSocket}`])
  }
  for (const [written, own] of changes) {
    if (!rendered.includes(written)) throw new Error(`the policy no longer holds ${written}`)
    rendered = rendered.replaceAll(written, own)
  }
  const policyFile = join(directory, 'policy.yaml')
  await writeFile(policyFile, rendered)

  const child = await startChild({
    command: process.execPath,
    args: [builtProgram, 'serve', '--policy', policyFile],
    logFile: join(directory, 'tollgate.log'),
  })
  const metricsUrl = `http://127.0.0.1:${String(places.metricsPort)}`
  await waitUntilReady({
    name: 'Tollgate',
    child,
    url: `${metricsUrl}/readyz`,
    timeoutMs: 60_000,
  })
  return {
    child,
    socket: places.socket,
    metricsUrl,
    adminUrl: `http://127.0.0.1:${String(places.adminPort)}`,
    policyFile,
    auditFile,
    auditPublicKeyFile,
  }
}

async function writeAuditKey(privateFile: string, publicFile: string): Promise<void> {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  await writeFile(privateFile, privateKey.export({ format: 'pem', type: 'pkcs8' }), { mode: 0o600 })
  await writeFile(publicFile, publicKey.export({ format: 'pem', type: 'spki' }))
}
