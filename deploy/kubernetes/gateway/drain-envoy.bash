#!/usr/bin/env bash
# Envoy's preStop: lets every stream under way end before the kubelet stops Envoy. A SIGTERM would cut them at once,
# and the reports that end their reservations would not come.
#
#   drain-envoy.bash SETTLE_SECONDS DEADLINE_SECONDS [PORT]
#
# Envoy goes on answering, and tells clients with each answer to take their connection elsewhere. SETTLE_SECONDS is how
# long the cluster may take to send nobody here any more; after it the script ends once no request is under way.
# Exit code 1: at DEADLINE_SECONDS some were. Where nobody listens there is nothing to drain; an Envoy that only fails to
# answer is asked again.
set -u

settle_seconds=$1
deadline_seconds=$2
port=${3:-9901}

ask() {
  bash "${BASH_SOURCE[0]%/*}/ask-envoy.bash" "$1" "$2" "$port"
}

# Ends the script where nobody listens any more.
unless_gone() {
  (($1 == 2)) || return 0
  echo 'nobody listens: nothing to drain'
  exit 0
}

# Waits a second for the next look, up to the deadline.
again() {
  if ((SECONDS >= deadline_seconds)); then
    echo "requests still under way: $1" >&2
    exit 1
  fi
  sleep 1
}

# skip_exit: Envoy goes on accepting until its SIGTERM. Without it callers would be refused once its drain time is over.
until ask POST '/drain_listeners?graceful&skip_exit' >/dev/null; do
  unless_gone $?
  again unknown
done
sleep "$settle_seconds"

while true; do
  answer=$(ask GET '/stats?filter=^http\.llm\.downstream_rq_active$')
  unless_gone $?
  # An answer without the figure is no proof that nothing is under way.
  active=unknown
  [[ $answer =~ downstream_rq_active:\ ([0-9]+) ]] && active=${BASH_REMATCH[1]}
  [[ $active == 0 ]] && exit 0
  again "$active"
done
