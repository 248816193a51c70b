import { expect, test } from 'vitest'
import { loadConfig } from '../src/config/load.js'
import { partOptions } from '../src/part-options.js'

const issuers = `
issuers:
  - { issuer: 'https://idp.example', audiences: [llm], algorithms: [ES256], tenant: { fixed: acme } }
`

test('each setting reaches its part', () => {
  const { settings } = loadConfig(
    '/etc/tollgate/policy.yaml',
    `${issuers}
listen:
  grpc: 127.0.0.1:7001
  tls: { certFile: a.pem, keyFile: b.pem, clientCaFile: c.pem, allowedSans: ['spiffe://a/b'] }
limits:
  maxBodyBytes: 1000001
  maxConcurrentChecks: 1002
  examinationTimeoutMs: 1003
  examinationWorkers: 4
  maxExaminationBytes: 2000005
audit: { file: audit.jsonl, keyFile: audit.pem, required: true, writeTimeoutMs: 1006 }
`,
  )
  expect(partOptions(settings)).toEqual({
    prompts: { workers: 4, inlineBytes: 32 * 1024, timeoutMs: 1003, maxOpenBytes: 2_000_005 },
    grpc: {
      address: { kind: 'tcp', host: '127.0.0.1', port: 7001 },
      tls: {
        certFile: '/etc/tollgate/a.pem',
        keyFile: '/etc/tollgate/b.pem',
        clientCaFile: '/etc/tollgate/c.pem',
        allowedSans: ['spiffe://a/b'],
      },
      maxBodyBytes: 1_000_001,
      maxConcurrentStreams: 1002,
    },
    audit: {
      file: '/etc/tollgate/audit.jsonl',
      keyFile: '/etc/tollgate/audit.pem',
      writeTimeoutMs: 1006,
    },
    auditRequired: true,
  })
})

test('without an audit file no record is required', () => {
  const { audit, auditRequired } = partOptions(loadConfig('policy.yaml', issuers).settings)
  expect({ audit, auditRequired }).toEqual({ audit: undefined, auditRequired: false })
})
