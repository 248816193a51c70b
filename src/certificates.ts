import { X509Certificate } from 'node:crypto'

/**
 * The certificates of a bundle in PEM: all of them, or it throws. OpenSSL takes a bundle as far as it understands it,
 * and one without any, or in DER, for nothing at all, and says so of none.
 */
export function readCertificates(text: string): readonly X509Certificate[] {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? []
  const began = text.split('-----BEGIN CERTIFICATE').length - 1
  if (blocks.length === 0) throw new Error('no certificate in PEM')
  if (blocks.length !== began) throw new Error('a certificate without an end')
  return blocks.map((block) => new X509Certificate(block))
}
