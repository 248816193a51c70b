import { createLog } from '../../src/telemetry/log.js'
import { openStandardOutput } from '../../src/telemetry/standard-output.js'

const log = createLog({ level: 'info', destination: openStandardOutput(() => undefined) })
for (const line of ['first', 'second', 'third']) log.info(line)
throw new Error('the end')
