import { X509Certificate } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { CertificatesError, certificatesPem, readCertificates } from '../src/certificates.js'
import { createSelfSigned } from './identity/self-signed.js'

const canonical = (pem: string): string => new X509Certificate(pem).toString()
const [one, other] = [canonical(createSelfSigned().cert), canonical(createSelfSigned().cert)]
const both = one + other
const trusted = other.replaceAll('CERTIFICATE', 'TRUSTED CERTIFICATE')

describe('a bundle is read in full', () => {
  test.each<[what: string, text: string]>([
    ['as OpenSSL writes it', both],
    ['with comments', `# one\nsubject=CN = a - b\n${one}\n--- x ---\n${other}\ntail`],
    ['without its last line feed', both.trimEnd()],
    ['with CR and LF', both.replaceAll('\n', '\r\n')],
    // OpenSSL would see no second one.
    ['with CR alone', both.replaceAll('\n', '\r')],
    ['with a CR before a begin', `${one}comment\r${other}`],
    ['with blanks at the end of its lines', both.replaceAll('\n', ' \t\n')],
    ['with the mark of UTF-8', `\uFEFF${both}`],
    ['with the mark of UTF-8, read as Latin-1', `\u00EF\u00BB\u00BF${both}`],
    ['under the old name', both.replaceAll('CERTIFICATE', 'X509 CERTIFICATE')],
    ['with a key', `${one}-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n${other}`],
    [
      'with a request',
      `${one}-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n${other}`,
    ],
    ['with a broken block of another kind', `${one}-----BEGIN X509 CRL-----\nMIIB\n${other}`],
    ['with a comment that looks like a block', `${one}-----BEGIN my CA-----\n${other}`],
  ])('%s', (_what, text) => {
    expect(certificatesPem(text)).toBe(both)
  })
})

describe('a bundle is refused', () => {
  const split = (pem: string): string => pem.replace(/\n[^\n]+\n/, '\nMIIB\n')
  test.each<[what: string, text: string, message: string]>([
    ['with nothing', '', 'no certificate in PEM'],
    ['in DER', new X509Certificate(one).raw.toString('latin1'), 'no certificate in PEM'],
    [
      'with a key alone',
      '-----BEGIN EC PRIVATE KEY-----\nMIIB\n-----END EC PRIVATE KEY-----\n',
      'no certificate in PEM, but EC PRIVATE KEY',
    ],
    [
      'with a request alone',
      '-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n',
      'no certificate in PEM, but CERTIFICATE REQUEST',
    ],
    ['with a word of the file', '-----BEGIN hunter2-----\n', 'no certificate in PEM'],
    ['with one that is broken', one + split(other), 'a certificate that cannot be read'],
    ['with one that is cut off', one + other.slice(0, 100), 'a certificate without an end'],
    [
      'with one that is cut off in its begin',
      `${one}-----BEGIN CERTIFICATE`,
      'the begin or end of a certificate that is not a line of its own',
    ],
    ['with one within another', one.slice(0, 100) + `\n${other}`, 'a certificate without an end'],
    [
      'with an end alone',
      `${one}-----END CERTIFICATE-----\n`,
      'the end of a certificate without its beginning',
    ],
    [
      'with one that begins where the other ends',
      one.trimEnd() + other,
      'the begin or end of a certificate that is not a line of its own',
    ],
    [
      'with one that is indented',
      one + other.replaceAll(/^/gm, '  '),
      'the begin or end of a certificate that is not a line of its own',
    ],
    [
      'with one that may say whom not to trust',
      one + trusted,
      'a TRUSTED CERTIFICATE: `openssl x509` makes a plain one',
    ],
  ])('%s', (_what, text, message) => {
    expect(() => readCertificates(text)).toThrow(new CertificatesError(message))
  })
})
