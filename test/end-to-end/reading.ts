/** Reads a stream until its text contains `part`, so many times; the rest stays unread. */
export async function readUntil(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  part: string,
  times = 1,
): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  while (text.split(part).length <= times) {
    const { done, value } = await reader.read()
    if (done) throw new Error(`the stream ended without ${part}`)
    text += decoder.decode(value, { stream: true })
  }
  return text
}

export function readerOf(response: Response): ReadableStreamDefaultReader<Uint8Array> {
  if (response.body === null) throw new Error('the answer has no body')
  return response.body.getReader() as ReadableStreamDefaultReader<Uint8Array>
}
