/** Of a Redis Cluster; each key is in one, each slot on one master. */
export const SLOTS = 16_384

/** CRC-16/XMODEM, byte by byte: what Redis Cluster finds the slot of a key with. */
const table = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8
  for (let bit = 0; bit < 8; bit += 1) crc = (crc << 1) ^ (crc & 0x8000 ? 0x1021 : 0)
  return crc
})

/** The slot of a key: of what stands between its first `{` and the next `}`, if that is anything, else of all of it. */
export function slotOf(key: string): number {
  const opens = key.indexOf('{')
  const closes = opens === -1 ? -1 : key.indexOf('}', opens)
  const counted = closes > opens + 1 ? key.slice(opens + 1, closes) : key
  let crc = 0
  for (const byte of Buffer.from(counted)) {
    crc = ((crc << 8) & 0xffff) ^ (table[(crc >> 8) ^ byte] as number)
  }
  return crc % SLOTS
}
