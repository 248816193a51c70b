import { readFile } from 'node:fs/promises'
import { request } from 'node:https'
import { expect, test } from 'vitest'
import type { KeyPairFiles } from '../../deploy/demo/certificates.js'
import { chat, startTestStack } from './stack.js'

const stack = await startTestStack()
const { nodeA } = stack

/** Asks the GPU node itself, around Envoy; resolves with the status or the failure. */
async function askDirectly(certificate: KeyPairFiles | undefined): Promise<number | Error> {
  const ca = await readFile(stack.certificates.authorityFile)
  const own =
    certificate === undefined
      ? {}
      : {
          cert: await readFile(certificate.certificateFile),
          key: await readFile(certificate.keyFile),
        }
  return new Promise((resolve) => {
    const call = request(
      {
        host: '127.0.0.1',
        port: nodeA.port,
        path: '/v1/chat/completions',
        method: 'POST',
        ca,
        ...own,
        // The node proves a SPIFFE identity, not a host name; what is tested is whom the node lets in.
        checkServerIdentity: () => undefined,
      },
      (response) => {
        response.resume()
        resolve(response.statusCode ?? 0)
      },
    )
    call.once('error', resolve)
    call.end(JSON.stringify(chat()))
  })
}

test('a GPU node lets nobody in without a client certificate', async () => {
  expect(await askDirectly(undefined)).toBeInstanceOf(Error)
  expect(nodeA.served).toEqual([])
})

test("a GPU node lets in no certificate of the same authority but Envoy's", async () => {
  expect(await askDirectly(stack.certificates.stranger)).toBeInstanceOf(Error)
  const otherNode = stack.certificates.nodes.get('gpu-b')
  expect(await askDirectly(otherNode)).toBeInstanceOf(Error)
  expect(nodeA.served).toEqual([])
})

test("the same request with Envoy's certificate is served: what was refused was the certificate", async () => {
  expect(await askDirectly(stack.certificates.envoy)).toBe(200)
  expect(nodeA.served).toHaveLength(1)
})
