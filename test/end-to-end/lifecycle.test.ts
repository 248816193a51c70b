import { copyFile, readFile, rename } from 'node:fs/promises'
import { X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { patient } from './durations.js'
import { chat, eventually, startTestStack } from './stack.js'

const CALLS = 200

const stack = await startTestStack((policy) => {
  policy['drain'] = { delayMs: 100, deadlineMs: 60_000 }
  for (const quota of policy.quotas) quota['limit'] = 10_000_000
}, patient)
const { nodeA } = stack

test('a renewed client certificate is taken up without a restart', async () => {
  const shownSerials = async (): Promise<string> => {
    const response = await fetch(`${stack.envoy.adminUrl}/certs`)
    return (await response.text()).toLowerCase()
  }
  const { stranger } = stack.certificates
  const { serialNumber } = new X509Certificate(await readFile(stranger.certificateFile))
  expect(await shownSerials()).not.toContain(serialNumber.toLowerCase())

  // As Kubernetes and `mv` do it: the new file under another name, then a rename.
  const own = stack.certificates.envoy
  const replace = async (from: string, to: string): Promise<void> => {
    await copyFile(from, `${to}.new`)
    await rename(`${to}.new`, to)
  }
  const kept = join(stack.directory, 'kept')
  await copyFile(own.keyFile, `${kept}.key`)
  await copyFile(own.certificateFile, `${kept}.crt`)
  await replace(stranger.keyFile, own.keyFile)
  await replace(stranger.certificateFile, own.certificateFile)
  await eventually(async () => {
    expect(await shownSerials()).toContain(serialNumber.toLowerCase())
  })

  await replace(`${kept}.key`, own.keyFile)
  await replace(`${kept}.crt`, own.certificateFile)
  await eventually(async () => {
    expect(await shownSerials()).not.toContain(serialNumber.toLowerCase())
  })
  expect((await stack.send({ caller: 'alice', body: chat() })).status).toBe(200)
})

test('a credential of a key that the provider has just begun to use is accepted', async () => {
  await stack.identityProvider.rotateKey()
  const credential = await stack.identityProvider.issue('alice')
  const headers = { authorization: `Bearer ${credential}` }
  expect((await stack.send({ headers, body: chat() })).status).toBe(200)
  expect((await stack.send({ caller: 'alice', body: chat() })).status).toBe(200)
})

// Last: there is no Tollgate after it.
test(`Tollgate is told to end with ${String(CALLS)} calls under way: none is lost, each is settled`, async () => {
  await stack.settledUsage('alice', 'user-minute')
  const asked = await stack.envoyStat('cluster.tollgate.upstream_rq_total')
  nodeA.behave({ hold: true })
  const from = nodeA.served.length
  const sent = Promise.all(
    Array.from({ length: CALLS }, () =>
      stack.send({ caller: 'alice', body: chat({ max_tokens: 400 }) }),
    ),
  )
  // Every Check is on its way; some are answered and held at the node, the others are still being decided.
  await eventually(async () => {
    expect(await stack.envoyStat('cluster.tollgate.upstream_rq_total')).toBe(asked + CALLS)
  })
  stack.tollgate.child.signal('SIGTERM')
  await eventually(async () => {
    const { status } = await fetch(`${stack.tollgate.metricsUrl}/readyz`)
    expect(status).toBe(503)
  })
  await eventually(() => {
    expect(nodeA.served).toHaveLength(from + CALLS)
  })
  nodeA.release()

  const answers = await sent
  expect(answers.filter(({ status }) => status !== 200)).toEqual([])
  expect(await stack.tollgate.child.exited).toBe(0)
  const ends = await Promise.all(answers.map((answer) => stack.endOf(answer)))
  expect(ends.filter(({ outcome }) => outcome !== 'settled')).toEqual([])
  const used = nodeA.served
    .slice(from)
    .reduce((sum, { generation }) => sum + generation.inputTokens + generation.outputTokens, 0)
  const charged = ends.reduce(
    (sum, end) => sum + (end.inputTokens ?? 0) + (end.outputTokens ?? 0),
    0,
  )
  expect(charged).toBe(used)
})
