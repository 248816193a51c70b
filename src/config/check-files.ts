import { createPrivateKey } from 'node:crypto'
import { accessSync, constants } from 'node:fs'
import { dirname } from 'node:path'
import { readSigningKey } from '../audit/checkpoint.js'
import { CertificatesError, readCertificates } from '../certificates.js'
import { ConfigError } from '../errors.js'
import type { ConfigFault } from '../errors.js'
import { readText } from './load.js'
import type { NamedFile } from './named-files.js'

/** Opens every file that the policy names, as the server will: those of a pod lie nowhere else. */
export function checkFiles(files: readonly NamedFile[]): readonly ConfigFault[] {
  const texts = new Map<string, string>()
  const faults = files.flatMap((file) => {
    try {
      if (file.kind === 'audit file') checkPlace(file.path)
      else texts.set(file.key, checkText(file.path, file.kind))
      return []
    } catch (error) {
      if (error instanceof Unusable) return [file.fault(error.message)]
      if (error instanceof ConfigError) {
        return error.faults.map(({ expected }) => file.fault(expected))
      }
      throw error
    }
  })
  return [...faults, ...checkPair(files, texts)]
}

/** The message says what would be right, and nothing of what the file holds. */
class Unusable extends Error {}

/** It is made if it is not there; its directory is not. */
function checkPlace(path: string): void {
  try {
    accessSync(dirname(path), constants.W_OK | constants.X_OK)
  } catch {
    throw new Unusable('a path in a directory that this user may write')
  }
}

function checkText(path: string, kind: keyof typeof readers): string {
  const text = readText(path)
  const { read, expected } = readers[kind]
  try {
    read(text)
  } catch (error) {
    const found = error instanceof CertificatesError ? ` (${error.message})` : ''
    throw new Unusable(expected + found)
  }
  return text
}

const readers = {
  certificates: { read: readCertificates, expected: 'a file of certificates in PEM' },
  'private key': { read: createPrivateKey, expected: 'a file with a private key in PEM' },
  'signing key': {
    read: readSigningKey,
    expected: 'a file with an Ed25519 private key in PEM (PKCS #8)',
  },
  password: { read: readPassword, expected: 'a file of one line, the password' },
} as const

function readPassword(text: string): string {
  const password = text.trimEnd()
  if (/^[^\p{Cc}]+$/u.test(password)) return password
  throw new Error('not one line')
}

function checkPair(
  files: readonly NamedFile[],
  texts: ReadonlyMap<string, string>,
): readonly ConfigFault[] {
  const chain = texts.get('listen.tls.certFile')
  const key = texts.get('listen.tls.keyFile')
  const named = files.find((file) => file.key === 'listen.tls.keyFile')
  if (chain === undefined || key === undefined || named === undefined) return []
  const fits = readCertificates(chain)[0]?.checkPrivateKey(createPrivateKey(key)) ?? false
  return fits
    ? []
    : [named.fault('the private key of the first certificate in listen.tls.certFile')]
}
