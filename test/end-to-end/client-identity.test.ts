import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createCertificates } from '../../deploy/demo/certificates.js'
import type { KeyPairFiles } from '../../deploy/demo/certificates.js'
import { chat, eventually, startTestStack } from './stack.js'

interface EnvoyConfig {
  readonly static_resources: {
    readonly listeners: readonly { readonly filter_chains: Record<string, unknown>[] }[]
    readonly clusters: readonly {
      readonly name: string
      readonly transport_socket?: { readonly typed_config: { readonly common_tls_context: Tls } }
    }[]
  }
}

interface Tls {
  readonly tls_certificate_sds_secret_configs: unknown
  readonly combined_validation_context: { readonly validation_context_sds_secret_config: unknown }
}

/** Ends TLS, with the certificate and the authority that Envoy has for its engines. A client that has one shows it. */
function endingTls(config: string): string {
  const parsed = JSON.parse(config) as EnvoyConfig
  const { listeners, clusters } = parsed.static_resources
  const pool = clusters.find(({ name }) => name === 'gpu-a')
  const upstream = pool?.transport_socket?.typed_config.common_tls_context
  const chain = listeners[0]?.filter_chains[0]
  if (upstream === undefined || chain === undefined) throw new Error('envoy.yaml has neither')
  chain['transport_socket'] = {
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
      common_tls_context: {
        tls_certificate_sds_secret_configs: upstream.tls_certificate_sds_secret_configs,
        validation_context_sds_secret_config:
          upstream.combined_validation_context.validation_context_sds_secret_config,
      },
    },
  }
  return JSON.stringify(parsed)
}

const stack = await startTestStack((policy) => {
  policy.quotas.push({
    name: 'workload',
    unit: 'requests',
    limit: 2,
    window: 'day',
    by: ['spiffe'],
  })
}, endingTls)
const { stranger: notebook, nodes, authorityFile } = stack.certificates
const notebookId = 'spiffe://tollgate.example/ns/default/sa/notebook'
const batch = nodes.get('gpu-a')
const batchId = 'spiffe://tollgate.example/ns/gpu/sa/gpu-a'

interface Asking {
  readonly certificate?: KeyPairFiles | undefined
  readonly caller?: string
  readonly headers?: Readonly<Record<string, string>>
}

/** The status of a chat, or why there is none. */
async function ask({ certificate, caller = 'alice', headers }: Asking): Promise<number | Error> {
  const own = certificate && {
    cert: await readFile(certificate.certificateFile),
    key: await readFile(certificate.keyFile),
  }
  const ca = await readFile(authorityFile)
  const body = JSON.stringify(chat({ max_tokens: 5 }))
  return new Promise((resolve) => {
    const call = request(
      `${stack.envoy.url.replace('http:', 'https:')}/v1/chat/completions`,
      {
        ...{ method: 'POST', agent: false, ca, ...own },
        // Who Envoy is has no part in this.
        checkServerIdentity: () => undefined,
        headers: {
          authorization: `Bearer ${stack.credentialOf(caller)}`,
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
          ...headers,
        },
      },
      (response) => {
        response.resume()
        response.once('end', () => {
          resolve(response.statusCode ?? 0)
        })
      },
    )
    call.once('error', resolve)
    call.end(body)
  })
}

/** What the workload has spent; of those without an id, where none is named. */
async function spentOf(spiffe?: string): Promise<number> {
  const query = new URLSearchParams({ tenant: 'acme', subject: 'alice', group: 'research' })
  if (spiffe !== undefined) query.set('spiffe', spiffe)
  const response = await fetch(`${stack.tollgate.adminUrl}/usage?${query.toString()}`)
  const { quotas } = (await response.json()) as { quotas: { quota: string; spent: number }[] }
  return quotas.find(({ quota }) => quota === 'workload')?.spent ?? NaN
}

async function expectSpent(ofNotebook: number, ofBatch: number, ofOthers: number): Promise<void> {
  await eventually(async () => {
    const spent = await Promise.all([spentOf(notebookId), spentOf(batchId), spentOf()])
    expect(spent).toEqual([ofNotebook, ofBatch, ofOthers])
  })
}

const named = (id: string): Readonly<Record<string, string>> => ({
  'x-forwarded-client-cert': `By=spiffe://tollgate.example/gateway;URI=${id}`,
  'x-spiffe-id': id,
  'x-tollgate-spiffe': id,
})

test('a quota by SPIFFE id binds the id of the client certificate, whoever the caller is and whatever headers say', async () => {
  expect(await ask({ certificate: notebook })).toBe(200)
  expect(await ask({ certificate: notebook, caller: 'carol' })).toBe(200)
  await expectSpent(2, 0, 0)
  for (const headers of [{}, named(batchId)]) {
    expect(await ask({ certificate: notebook, headers })).toBe(429)
  }
  expect(await ask({ certificate: batch })).toBe(200)
  await expectSpent(2, 1, 0)
})

test('clients without a certificate share one partition, and no header takes them into another', async () => {
  expect(await ask({})).toBe(200)
  // The notebook has nothing left, the other workload has.
  expect(await ask({ headers: named(notebookId) })).toBe(200)
  await expectSpent(2, 1, 2)
  expect(await ask({ headers: named(batchId), caller: 'carol' })).toBe(429)
  await expectSpent(2, 1, 2)
})

test('a certificate of another authority names nobody: its client does not come in', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'other-authority-'))
  try {
    const { stranger: forged } = await createCertificates(directory, [])
    expect(await ask({ certificate: forged })).toBeInstanceOf(Error)
  } finally {
    await rm(directory, { recursive: true })
  }
})
