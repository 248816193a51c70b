import { webcrypto } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
// Before x509, whose dependency injection refuses to load without it.
import 'reflect-metadata'
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509'
import type { X509Certificate } from '@peculiar/x509'

/** Who Envoy is to a GPU node, and who a node of a pool is to Envoy: `envoy.yaml` names the same. */
export const envoyIdentity = 'spiffe://tollgate.example/ns/gateway/sa/envoy'
export const poolIdentity = (pool: string): string => `spiffe://tollgate.example/ns/gpu/sa/${pool}`

/** A certificate with its key, as files. PEM. */
export interface KeyPairFiles {
  readonly certificateFile: string
  readonly keyFile: string
}

export interface DemoCertificates {
  readonly authorityFile: string
  /** What Envoy shows to a GPU node. */
  readonly envoy: KeyPairFiles
  /** Signed by the same authority, but nobody a node should accept. */
  readonly stranger: KeyPairFiles
  /** What the nodes of a pool show to Envoy. */
  readonly nodes: ReadonlyMap<string, KeyPairFiles>
}

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

/** Good for one day: longer than any demo, too short to be of use to a finder. */
const LIFETIME_MS = 24 * 60 * 60 * 1000

interface Authority {
  readonly certificate: X509Certificate
  readonly keys: CryptoKeyPair
}

type CryptoKeyPair = webcrypto.CryptoKeyPair

/** Makes a fresh authority and what it signs, and writes all of it into `directory`. */
export async function createCertificates(
  directory: string,
  pools: readonly string[],
): Promise<DemoCertificates> {
  const authority = await createAuthority()
  const authorityFile = join(directory, 'ca.crt')
  await writeFile(authorityFile, authority.certificate.toString('pem'))

  const nodes = new Map<string, KeyPairFiles>()
  for (const pool of pools) {
    nodes.set(pool, await issue(authority, directory, pool, poolIdentity(pool)))
  }
  return {
    authorityFile,
    envoy: await issue(authority, directory, 'tls', envoyIdentity),
    stranger: await issue(
      authority,
      directory,
      'stranger',
      'spiffe://tollgate.example/ns/default/sa/notebook',
    ),
    nodes,
  }
}

async function createAuthority(): Promise<Authority> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: 'CN=Tollgate demo authority',
    ...validity(),
    keys,
    signingAlgorithm: algorithm,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    ],
  })
  return { certificate, keys }
}

async function issue(
  authority: Authority,
  directory: string,
  name: string,
  identity: string,
): Promise<KeyPairFiles> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: `CN=Tollgate demo, OU=${name}`,
    issuer: authority.certificate.subject,
    ...validity(),
    publicKey: keys.publicKey,
    signingKey: authority.keys.privateKey,
    signingAlgorithm: algorithm,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.clientAuth, ExtendedKeyUsage.serverAuth]),
      new SubjectAlternativeNameExtension([{ type: 'url', value: identity }]),
    ],
  })
  const files = {
    certificateFile: join(directory, `${name}.crt`),
    keyFile: join(directory, `${name}.key`),
  }
  const key = PemConverter.encode(
    await webcrypto.subtle.exportKey('pkcs8', keys.privateKey),
    'PRIVATE KEY',
  )
  await writeFile(files.certificateFile, certificate.toString('pem'))
  await writeFile(files.keyFile, key, { mode: 0o600 })
  return files
}

function validity(): { notBefore: Date; notAfter: Date } {
  const nowEpochMs = Date.now()
  // A minute back: a clock that lags a little must not refuse it.
  return {
    notBefore: new Date(nowEpochMs - 60_000),
    notAfter: new Date(nowEpochMs + LIFETIME_MS),
  }
}

/** 16 random bytes in hex, the first below 0x80: a serial number is a positive integer (RFC 5280 §4.1.2.2). */
function serialNumber(): string {
  const bytes = webcrypto.getRandomValues(new Uint8Array(16))
  bytes[0] = (bytes[0] ?? 0) & 0x7f
  return Buffer.from(bytes).toString('hex')
}
