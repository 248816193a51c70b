import { lookup } from 'node:dns'
import { readFile } from 'node:fs/promises'
import { request as requestHttp } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { request as requestHttps } from 'node:https'
import { BlockList, isIP } from 'node:net'
import type { LookupFunction } from 'node:net'
import { rootCertificates } from 'node:tls'
import { certificatesPem } from '../certificates.js'
import { KIB_BYTES } from '../units.js'

export interface FetchRequest {
  /** `https:`, or `http:` to a loopback address. */
  readonly url: URL
  /** PEM bundle to trust beside the public authorities. */
  readonly caFile: string | undefined
  readonly maxBytes: number
  /** For the whole exchange: name lookup, handshake, headers and body. */
  readonly timeoutMs: number
  readonly signal: AbortSignal
}

/**
 * GETs a JSON document. Follows no redirect: an address that the provider did not publish is not its own.
 *
 * @returns the body of a 200 with a JSON media type, as sent, at most `maxBytes`
 * @throws Error anything else; the message holds nothing that was received
 */
export type FetchJson = (request: FetchRequest) => Promise<Uint8Array>

/** `FetchJson` over the machine's network. The CA file is read anew each time, so a renewed one needs no restart. */
export const fetchJson: FetchJson = async (request) => {
  const ca =
    request.caFile === undefined
      ? {}
      : { ca: [...rootCertificates, certificatesPem(await readFile(request.caFile, 'utf8'))] }
  return new Promise((resolve, reject) => {
    const { url, timeoutMs } = request
    const secure = url.protocol === 'https:'
    const host = url.hostname.replace(/^\[|\]$/g, '')
    // A literal address is connected to without a lookup, so it is looked at here.
    if (isIP(host) !== 0 && !mayConnect(host, secure)) {
      reject(new Error('the address is not one that an identity provider can have'))
      return
    }
    const outgoing = (secure ? requestHttps : requestHttp)(url, {
      ...ca,
      agent: false,
      lookup: guardedLookup(secure),
      signal: request.signal,
      // Compressed bytes would have to be bounded twice.
      headers: {
        accept: 'application/json',
        'accept-encoding': 'identity',
        'user-agent': 'tollgate',
      },
    })
    // The reason first: what the sockets say when they are torn down would hide it.
    const fail = (reason: string): void => {
      reject(new Error(reason))
      outgoing.destroy()
    }
    const giveUp = setTimeout(() => {
      fail(`no complete answer within ${String(Math.ceil(timeoutMs))} ms`)
    }, timeoutMs)
    outgoing.on('close', () => {
      clearTimeout(giveUp)
      // After any outcome below this changes nothing; before one, the connection ended without an answer.
      reject(new Error('the connection closed before the answer was complete'))
    })
    outgoing.on('error', reject)
    outgoing.on('response', (response) => {
      response.on('error', reject)
      const fault = responseFault(response, request.maxBytes)
      if (fault !== undefined) {
        fail(fault)
        return
      }
      const chunks: Buffer[] = []
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        if (bytes > request.maxBytes) fail(tooLong(request.maxBytes))
        else chunks.push(chunk)
      })
      // Not emitted for an answer that breaks off.
      response.on('end', () => {
        resolve(Buffer.concat(chunks))
      })
    })
    outgoing.end()
  })
}

function responseFault(response: IncomingMessage, maxBytes: number): string | undefined {
  if (response.statusCode !== 200) return `HTTP status ${String(response.statusCode)}`
  const type = response.headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase() ?? ''
  if (!/^application\/(?:[a-z0-9.-]+\+)?json$/.test(type)) return 'the answer is not JSON'
  const encoding = response.headers['content-encoding'] ?? 'identity'
  if (encoding.toLowerCase() !== 'identity') return 'the answer is compressed, unasked'
  const length = Number(response.headers['content-length'] ?? 0)
  return length > maxBytes ? tooLong(maxBytes) : undefined
}

function tooLong(maxBytes: number): string {
  return `the answer is longer than ${String(maxBytes / KIB_BYTES)} KiB`
}

/**
 * Link-local addresses and the fixed ones of cloud metadata services. None can be an identity provider, and a
 * name that leads to one would have Tollgate ask it in the pod's stead. Private addresses stay allowed: many
 * providers are inside the cluster.
 */
const never = new BlockList()
never.addSubnet('169.254.0.0', 16, 'ipv4')
never.addSubnet('fe80::', 10, 'ipv6')
never.addAddress('fd00:ec2::254', 'ipv6')
never.addAddress('100.100.100.200', 'ipv4')
never.addAddress('168.63.129.16', 'ipv4')

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')

function mayConnect(address: string, secure: boolean): boolean {
  const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
  return secure ? !never.check(address, family) : loopback.check(address, family)
}

/** Looks at the addresses that are connected to, not at an earlier answer: a name may change between the two. */
function guardedLookup(secure: boolean): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, addresses) => {
      const [first] = addresses ?? []
      if (error !== null) callback(error, [])
      else if (
        first === undefined ||
        !addresses.every((each) => mayConnect(each.address, secure))
      ) {
        callback(
          new Error('the name leads to an address that an identity provider cannot have'),
          [],
        )
      } else if (options.all === true) callback(null, addresses)
      else callback(null, first.address, first.family)
    })
  }
}
