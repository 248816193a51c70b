/**
 * A worker is ended by a signal, as is an interrupted run, and then nobody's `exit` is heard: what a test started and did
 * not come to stop would live on. That ends each at `exit`.
 */
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    process.exit(1)
  })
}
