/** Asks every 20 ms until nothing is thrown, for half a minute. Also for what is run without the test runner. */
export async function until<T>(ask: () => Promise<T>): Promise<T> {
  const givesUpMs = performance.now() + 30_000
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      if (performance.now() > givesUpMs) throw error
    }
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
