/**
 * A worker is ended by a signal, as is an interrupted run, and then nobody's `exit` is heard: what a test started and did
 * not come to stop would live on. That ends each at `exit`.
 */
function exitOnSignal(): void {
  process.exit(1)
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  // This runs before each file, in a worker that may have many.
  const isHeard = process.listeners(signal).some(({ name }) => name === exitOnSignal.name)
  if (!isHeard) process.once(signal, exitOnSignal)
}
