import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, credentials } from '@grpc/grpc-js'
import { expect, vi } from 'vitest'
import { startChild } from '../deploy/demo/child.js'
import { startSmallProvider } from './small-provider.js'

/** The program as it is started in a pod, with a rate limit service and without Envoy. */
export interface RateLimitProgram {
  readonly client: Client
  metric(series: string): Promise<number>
  stop(): Promise<void>
}

/** @param section what the policy says under `ledger` and `rateLimitService`, beside `configDir` */
export async function startRateLimitProgram(
  files: Readonly<Record<string, string>>,
  { ledger, service }: { readonly ledger: string; readonly service: string },
): Promise<RateLimitProgram> {
  const directory = mkdtempSync(join(tmpdir(), 'tg-limits-'))
  const limits = join(directory, 'limits')
  const socket = join(directory, 'grpc.sock')
  const logFile = join(directory, 'log')
  const policyFile = join(directory, 'policy.yaml')
  const provider = await startSmallProvider()
  mkdirSync(limits)
  for (const [name, text] of Object.entries(files)) writeFileSync(join(limits, name), text)
  writeFileSync(
    policyFile,
    `
listen: { grpc: 'unix://${socket}', metrics: '127.0.0.1:0', admin: '127.0.0.1:0' }
ledger: ${ledger}
rateLimitService: { configDir: limits, ${service} }
issuers:
  - { issuer: '${provider.issuer}', insecureHttp: true, audiences: [llm], algorithms: [ES256], tenant: { fixed: acme } }
limits: { examinationWorkers: 1 }
drain: { delayMs: 1000, deadlineMs: 1000 }
`,
  )
  const program = join(import.meta.dirname, '..', 'dist', 'cli.js')
  const child = await startChild({
    command: process.execPath,
    args: [program, 'serve', '--policy', policyFile],
    logFile,
  })
  const metrics = await vi.waitFor(
    () => {
      const log = readFileSync(logFile, 'utf8')
      if (!child.running()) throw new Error(log)
      const line = log.split('\n').find((text) => text.includes('tollgate is listening'))
      expect(line).toBeDefined()
      return (JSON.parse(line ?? '') as { metrics: string }).metrics
    },
    { timeout: 25_000, interval: 50 },
  )
  const client = new Client(`unix:${socket}`, credentials.createInsecure())
  return {
    client,
    async metric(series) {
      const text = await (await fetch(`http://${metrics}/metrics`)).text()
      const line = text.split('\n').find((each) => each.startsWith(`${series} `))
      return Number(line?.slice(series.length + 1) ?? 0)
    },
    async stop() {
      client.close()
      await child.stop()
      provider.close()
      rmSync(directory, { recursive: true })
    },
  }
}
