/** Of a Redis Cluster; each key is in one, each slot on one master. */
export const SLOTS = 16_384

/** CRC-16/XMODEM, which Redis Cluster finds the slot of a key with: of one byte, and of one before 1, 2 or 3 zeros. */
const [before0, before1, before2, before3] = tables()

function tables(): readonly [Uint16Array, Uint16Array, Uint16Array, Uint16Array] {
  const ofByte = Uint16Array.from({ length: 256 }, (_, byte) => {
    let crc = byte << 8
    for (let bit = 0; bit < 8; bit += 1) crc = (crc << 1) ^ (crc & 0x8000 ? 0x1021 : 0)
    return crc
  })
  const further = (crc: number): number => (crc << 8) ^ (ofByte[crc >> 8] as number)
  const one = ofByte.map(further)
  const two = one.map(further)
  return [ofByte, one, two, two.map(further)]
}

/** The slot of a key: of what stands between its first `{` and the next `}`, if that is anything, else of all of it. */
export function slotOf(key: string): number {
  const opens = key.indexOf('{')
  const closes = opens === -1 ? -1 : key.indexOf('}', opens)
  const counted = closes > opens + 1 ? key.slice(opens + 1, closes) : key
  return crc16(Buffer.from(counted)) % SLOTS
}

/** Four bytes at a time, and by index: keys of envoyproxy/ratelimit can hold values of tens of KiB. */
function crc16(bytes: Uint8Array): number {
  const at = (index: number): number => bytes[index] as number
  let crc = 0
  let index = 0
  for (; index + 4 <= bytes.length; index += 4) {
    crc =
      (before3[(crc >> 8) ^ at(index)] as number) ^
      (before2[(crc & 0xff) ^ at(index + 1)] as number) ^
      (before1[at(index + 2)] as number) ^
      (before0[at(index + 3)] as number)
  }
  for (; index < bytes.length; index += 1) {
    crc = ((crc << 8) & 0xffff) ^ (before0[(crc >> 8) ^ at(index)] as number)
  }
  return crc
}
