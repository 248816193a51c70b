import { X509Certificate } from 'node:crypto'

/**
 * The certificates of a bundle in PEM: all of them, or it throws. OpenSSL takes a bundle as far as it understands it,
 * and one without any, or in DER, for nothing at all, and says so of none.
 */
export function readCertificates(text: string): readonly X509Certificate[] {
  // OpenSSL wants each of the two in a line of its own; it knows two more names of a certificate.
  const blocks =
    text.match(/^-----BEGIN CERTIFICATE-----\r?$[^-]*^-----END CERTIFICATE-----\r?$/gm) ?? []
  const began = text.match(/-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE/g)?.length ?? 0
  if (blocks.length === 0) throw new Error('no certificate in PEM')
  if (blocks.length !== began) throw new Error('a certificate without an end')
  return blocks.map((block) => new X509Certificate(block))
}
