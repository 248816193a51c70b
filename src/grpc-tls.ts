import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import { experimental } from '@grpc/grpc-js'
import type { ServerCredentials } from '@grpc/grpc-js'
import { CertificatesError, certificatesPem } from './certificates.js'

/** PEM. */
export interface TlsFiles {
  readonly certFile: string
  readonly keyFile: string
  readonly clientCaFile: string
}

/** What a look at the files came to. `refused`: they changed, and what they hold cannot be used. */
export type TlsLook =
  | { readonly kind: 'same' }
  | { readonly kind: 'renewed' }
  | { readonly kind: 'refused'; readonly reason: string }

/** Mutual TLS by files that may be replaced while it serves. */
export interface FollowedTls {
  readonly credentials: ServerCredentials
  /**
   * Takes what has changed, for connections from now on, once two looks agree: a writer may be between two files. What
   * cannot be used is told once, and the last good ones stay.
   */
  look(): TlsLook
}

interface TlsContents {
  readonly cert: Buffer
  readonly key: Buffer
  readonly clientCa: Buffer
}

type Seen =
  | { readonly kind: 'read'; readonly name: string; readonly contents: TlsContents }
  | { readonly kind: 'failed'; readonly name: string; readonly error: unknown }

/** @throws what is wrong with the files, if they cannot be used now */
export function followTls(files: TlsFiles): FollowedTls {
  const first = see(files)
  if (first.kind === 'failed') throw first.error
  const provider = createProvider(usable(first.contents))
  let decided = first.name
  let pending: string | undefined

  return {
    // One provider for both: grpc-js 1.14 takes them in another order than it says.
    credentials: experimental.createCertificateProviderServerCredentials(provider, provider, true),
    look() {
      const seen = see(files)
      if (seen.name === decided || seen.name !== pending) {
        pending = seen.name
        return { kind: 'same' }
      }
      decided = seen.name
      try {
        if (seen.kind === 'failed') throw seen.error
        provider.take(usable(seen.contents))
        return { kind: 'renewed' }
      } catch (error) {
        return { kind: 'refused', reason: reasonOf(error) }
      }
    },
  }
}

function see({ certFile, keyFile, clientCaFile }: TlsFiles): Seen {
  try {
    const contents = {
      cert: readFileSync(certFile),
      key: readFileSync(keyFile),
      clientCa: readFileSync(clientCaFile),
    }
    const hash = createHash('sha256')
    for (const content of Object.values(contents))
      hash.update(`${String(content.length)} `).update(content)
    return { kind: 'read', name: hash.digest('hex'), contents }
  } catch (error) {
    return { kind: 'failed', name: reasonOf(error), error }
  }
}

/** What TLS gets of them. @throws what is wrong with the files */
function usable({ cert, key, clientCa }: TlsContents): TlsContents {
  // OpenSSL takes a file whose certificates it cannot read for authorities that have issued none.
  const inFull = (bytes: Buffer): Buffer => Buffer.from(certificatesPem(bytes.toString('latin1')))
  const contents = { cert: inFull(cert), key, clientCa: inFull(clientCa) }
  createSecureContext({ cert: contents.cert, key, ca: contents.clientCa })
  return contents
}

/** Of other errors the code alone: their text could hold what is in the file. */
function reasonOf(error: unknown): string {
  if (error instanceof CertificatesError) return error.message
  return error instanceof Error && 'code' in error && typeof error.code === 'string'
    ? error.code
    : 'it cannot be read'
}

function createProvider(first: TlsContents) {
  const identityListeners = new Set<experimental.IdentityCertificateUpdateListener>()
  const caListeners = new Set<experimental.CaCertificateUpdateListener>()
  let current = first
  const identity = () => ({ certificate: current.cert, privateKey: current.key })
  const authority = () => ({ caCertificate: current.clientCa })
  return {
    take(contents: TlsContents): void {
      current = contents
      for (const listener of identityListeners) listener(identity())
      for (const listener of caListeners) listener(authority())
    },
    // Not at once: grpc-js adds a server to those that it tells only after it has asked here.
    addIdentityCertificateListener(listener: experimental.IdentityCertificateUpdateListener): void {
      identityListeners.add(listener)
      process.nextTick(() => {
        listener(identity())
      })
    },
    removeIdentityCertificateListener(
      listener: experimental.IdentityCertificateUpdateListener,
    ): void {
      identityListeners.delete(listener)
    },
    addCaCertificateListener(listener: experimental.CaCertificateUpdateListener): void {
      caListeners.add(listener)
      process.nextTick(() => {
        listener(authority())
      })
    },
    removeCaCertificateListener(listener: experimental.CaCertificateUpdateListener): void {
      caListeners.delete(listener)
    },
  } satisfies experimental.CertificateProvider & { take: unknown }
}
