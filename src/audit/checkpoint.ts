import { createPrivateKey, createPublicKey, hash, sign, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import type { ChainCheckpoint, ChainState } from './chain.js'

/** Signs checkpoints. */
export interface SigningKey {
  /** First 16 hex digits of the SHA-256 of the public key (SPKI, DER): the same for both halves. */
  readonly id: string
  readonly privateKey: KeyObject
}

/** Checks checkpoints. */
export interface VerifyingKey {
  readonly id: string
  readonly publicKey: KeyObject
}

/**
 * @param pem a PKCS #8 Ed25519 private key, as `openssl genpkey -algorithm ed25519` writes it
 * @throws TypeError it is none; the message holds nothing of it
 */
export function readSigningKey(pem: string): SigningKey {
  const privateKey = readKey(pem, createPrivateKey, 'private')
  return { id: keyId(createPublicKey(privateKey)), privateKey }
}

/**
 * @param pem an Ed25519 public key, as `openssl pkey -pubout` writes it
 * @throws TypeError it is none
 */
export function readVerifyingKey(pem: string): VerifyingKey {
  // createPublicKey would take the private half too: whoever verifies has no need of it, and should hear so.
  if (pem.includes('PRIVATE KEY'))
    throw new TypeError('a public key is needed, not the private one')
  const publicKey = readKey(pem, createPublicKey, 'public')
  return { id: keyId(publicKey), publicKey }
}

function readKey(pem: string, read: (pem: string) => KeyObject, half: string): KeyObject {
  let key: KeyObject | undefined
  try {
    key = read(pem)
  } catch {
    // OpenSSL's message can quote the file; the type is all the operator needs.
  }
  if (key?.asymmetricKeyType !== 'ed25519') {
    throw new TypeError(`not an Ed25519 ${half} key in PEM form`)
  }
  return key
}

function keyId(publicKey: KeyObject): string {
  return hash('sha256', publicKey.export({ type: 'spki', format: 'der' }), 'hex').slice(0, 16)
}

interface Claim {
  readonly chainId: string
  readonly seq: number
  readonly prev: string
  readonly time: string
  readonly key: string
}

/** The signed bytes: a label, so that the key's signature means nothing elsewhere, and the place in the chain. */
function signedBytes(claim: Claim): Buffer {
  const { chainId, seq, prev, time, key } = claim
  return Buffer.from(
    JSON.stringify(['tollgate-audit-checkpoint', 1, chainId, seq, prev, time, key]),
  )
}

/** The checkpoint that comes next in the chain: it proves every line before it, by the hash of the last. */
export function signCheckpoint(
  key: SigningKey,
  chainId: string,
  state: ChainState,
  time: string,
): ChainCheckpoint {
  const claim = { chainId, seq: state.nextSeq, prev: state.lastHash, time, key: key.id }
  const signature = sign(null, signedBytes(claim), key.privateKey).toString('base64url')
  return { type: 'checkpoint', time, chainId, key: key.id, signature }
}

/**
 * Was this checkpoint signed by one of the keys, for this place in this chain?
 *
 * @param place of its line, as `readLine` gives it: the signature covers all of the line but itself
 */
export function checkCheckpoint(
  checkpoint: ChainCheckpoint,
  place: { readonly seq: number; readonly prev: string },
  keys: readonly VerifyingKey[],
): 'valid' | 'forged' | 'key_unknown' {
  const { chainId, time, key: id, signature } = checkpoint
  const key = keys.find((candidate) => candidate.id === id)
  if (key === undefined) return 'key_unknown'
  const bytes = signedBytes({ chainId, seq: place.seq, prev: place.prev, time, key: id })
  const signed = Buffer.from(signature, 'base64url')
  // The same bytes can be spelt in many ways; the signer spells them in one.
  if (signed.toString('base64url') !== signature) return 'forged'
  return verify(null, bytes, key.publicKey, signed) ? 'valid' : 'forged'
}
