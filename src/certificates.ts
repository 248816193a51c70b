import { X509Certificate } from 'node:crypto'

/** The message says what is wrong, and nothing of what the file holds. */
export class CertificatesError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'CertificatesError'
  }
}

/** Begin or end of a certificate, cut off or not, under the names that OpenSSL knows; a request for one is none. */
const MARK = /-----(?:BEGIN|END) (?:X509 |TRUSTED )?CERTIFICATE(?! REQUEST)/
const WHOLE_MARK = /^-----(BEGIN|END) (?:X509 )?CERTIFICATE-----$/
const TRUSTED_MARK = '-----BEGIN TRUSTED CERTIFICATE'
const OTHER_BLOCK =
  /-----BEGIN ((?:NEW )?CERTIFICATE REQUEST|X509 CRL|PKCS7|(?:(?:EC|RSA|ENCRYPTED) )?PRIVATE KEY|PUBLIC KEY)-----/

/**
 * The certificates of a bundle in PEM: all of them, or it throws. What is between them, as comments and keys, is left
 * out. Give TLS these (`certificatesPem`) and not the file: OpenSSL takes a bundle as far as it understands it, one in DER for
 * nothing at all, and says so of none.
 *
 * @param text decoded as UTF-8 or as Latin-1
 * @throws CertificatesError
 */
export function readCertificates(text: string): readonly X509Certificate[] {
  const certificates: X509Certificate[] = []
  let body: string[] | undefined
  for (const written of text.replace(/^(?:\uFEFF|\u00EF\u00BB\u00BF)/, '').split(/\r\n?|\n/)) {
    const line = written.trimEnd()
    const mark = WHOLE_MARK.exec(line)?.[1]
    if (mark === 'BEGIN' && body === undefined) body = []
    else if (mark === 'END' && body !== undefined) {
      certificates.push(certificateOf(body))
      body = undefined
    } else if (MARK.test(line)) throw new CertificatesError(whatIsWrong(line, mark))
    else body?.push(line)
  }
  if (body !== undefined) throw new CertificatesError('a certificate without an end')
  if (certificates.length > 0) return certificates
  const other = OTHER_BLOCK.exec(text)?.[1]
  throw new CertificatesError(`no certificate in PEM${other === undefined ? '' : `, but ${other}`}`)
}

/**
 * The same, in the form in which OpenSSL reads all of it.
 *
 * @throws CertificatesError
 */
export function certificatesPem(text: string): string {
  return readCertificates(text)
    .map((certificate) => certificate.toString())
    .join('')
}

function certificateOf(body: readonly string[]): X509Certificate {
  const block = ['-----BEGIN CERTIFICATE-----', ...body, '-----END CERTIFICATE-----', '']
  try {
    return new X509Certificate(block.join('\n'))
  } catch {
    throw new CertificatesError('a certificate that cannot be read')
  }
}

function whatIsWrong(line: string, mark: string | undefined): string {
  if (mark === 'BEGIN') return 'a certificate without an end'
  if (mark === 'END') return 'the end of a certificate without its beginning'
  // It may say whom not to trust, which neither a plain certificate nor this check would have.
  if (line.startsWith(TRUSTED_MARK))
    return 'a TRUSTED CERTIFICATE: `openssl x509` makes a plain one'
  return 'the begin or end of a certificate that is not a line of its own'
}
