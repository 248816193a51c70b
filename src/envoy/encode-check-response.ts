import type { CheckResponse, HeaderValueOption, StructValue } from './wire.js'

/**
 * Writes a `CheckResponse` as protobuf. Bytes are collected as text of the same Latin-1 characters and turned into
 * one buffer at the end: the general encoder, which builds a message object and a list of pending writes first,
 * took four times as long for an allow (measured: 29 against 7 µs, 1.1 KB), and was the dearest step of the whole wire.
 *
 * `test/envoy/encode-check-response.test.ts` holds it against the general encoder.
 */
export function encodeCheckResponse(response: CheckResponse): Buffer {
  const answer =
    'okResponse' in response
      ? bytesField(
          3,
          response.okResponse.headers.map((option) => headerField(2, option)).join('') +
            response.okResponse.headersToRemove.map((name) => textField(5, name)).join('') +
            response.okResponse.responseHeadersToAdd
              .map((option) => headerField(6, option))
              .join(''),
        )
      : bytesField(
          2,
          bytesField(1, numberField(1, response.deniedResponse.status.code)) +
            response.deniedResponse.headers.map((option) => headerField(2, option)).join('') +
            textField(3, response.deniedResponse.body),
        )
  const metadata = Object.entries(response.dynamicMetadata.fields).map(entryField).join('')
  return Buffer.from(
    bytesField(1, numberField(1, response.status.code)) + answer + bytesField(4, metadata),
    'latin1',
  )
}

/** `append { value: false } append_action: OVERWRITE_IF_EXISTS_OR_ADD`, as every option of Tollgate has it. */
const overwrite = bytesField(2, numberField(1, 0)) + numberField(3, 2)

function headerField(field: number, { header }: HeaderValueOption): string {
  const pair = textField(1, header.key) + textField(2, header.value)
  return bytesField(field, bytesField(1, pair) + overwrite)
}

/** One entry of `google.protobuf.Struct.fields`. */
function entryField([key, value]: [string, StructValue]): string {
  const content =
    'stringValue' in value ? textField(3, value.stringValue) : doubleField(2, value.numberValue)
  return bytesField(1, textField(1, key) + bytesField(2, content))
}

function textField(field: number, text: string): string {
  return bytesField(field, isAscii(text) ? text : Buffer.from(text, 'utf8').toString('latin1'))
}

const asciiForm = /^[\0-\x7f]*$/

function isAscii(text: string): boolean {
  return asciiForm.test(text)
}

/** Wire type 2: a length, then that many bytes. */
function bytesField(field: number, bytes: string): string {
  return String.fromCharCode((field << 3) | 2) + varint(bytes.length) + bytes
}

/** Wire type 0, for numbers that are not negative. */
function numberField(field: number, value: number): string {
  return String.fromCharCode(field << 3) + varint(value)
}

/** Wire type 1. */
function doubleField(field: number, value: number): string {
  const bytes = Buffer.alloc(8)
  bytes.writeDoubleLE(value)
  return String.fromCharCode((field << 3) | 1) + bytes.toString('latin1')
}

/** Seven bits a byte, the lowest first; the high bit says that more follow. */
function varint(value: number): string {
  let bytes = ''
  let left = value
  while (left > 0x7f) {
    bytes += String.fromCharCode((left & 0x7f) | 0x80)
    left >>>= 7
  }
  return bytes + String.fromCharCode(left)
}
