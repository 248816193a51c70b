#!/usr/bin/env bash
# Asks Envoy's admin on loopback and prints its whole answer. Exit code 1: it is not a 200, or none comes in 5 seconds;
# 2: nobody listens there.
#
#   ask-envoy.bash METHOD PATH [PORT]
#
# In bash alone, because the image has no curl; and from inside the pod, because the kubelet's httpGet does not come to
# loopback, and Envoy wants POST for what changes its state.
set -u

answer=''
asked=''
{
  asked=yes
  printf '%s %s HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n' "$1" "$2" >&3
  # Reads to the end, which `read` calls a failure: there is no delimiter in the answer.
  IFS= read -r -d '' -t 5 answer <&3
} 2>/dev/null 3<>"/dev/tcp/127.0.0.1/${3:-9901}"
[[ $asked ]] || exit 2
printf '%s' "$answer"
[[ $answer == 'HTTP/1.1 200 '* ]]
