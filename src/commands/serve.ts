import { noOperands, readArguments, required } from './arguments.js'
import type { Command } from './command.js'

export const serve: Command = {
  name: 'serve',
  summary: 'answer Envoy, until SIGTERM',
  help: `Usage: tollgate serve --policy FILE

Answers Envoy's Check and the report at the end of each stream, as the policy says.

  --policy FILE  the policy; changes of the file take effect without a restart, except those of the
                 sections listen, ledger, audit, limits, drain, log and rateLimitService

Signals:
  SIGHUP           read the policy and the rate limit files now
  SIGTERM, SIGINT  stop: not serving at once, then drain as the policy's section drain says

Exit codes:
  0  stopped after a signal
  1  the policy cannot be used, or Tollgate cannot start; standard error says why
  2  the command line is wrong`,
  async run(args) {
    const { values, positionals } = readArguments(args, { policy: { type: 'string' } })
    noOperands(positionals)
    const policyFile = required(values.policy, '--policy FILE')
    // By default it ends the process. The policy is read anyway as soon as it can be.
    process.on('SIGHUP', () => undefined)
    // Loaded here, so that the other commands do not wait for gRPC and the tokenizer.
    const { serve: run } = await import('../main.js')
    return run(policyFile)
  },
}
