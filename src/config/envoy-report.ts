/** By the name of a figure in the report: the command operator from which Envoy takes it. */
export const reportFormats: ReadonlyMap<string, string> = new Map([
  // The namespace that the usage filters of `envoy.yaml` write.
  ['input', '%DYNAMIC_METADATA(tollgate.usage:input)%'],
  ['output', '%DYNAMIC_METADATA(tollgate.usage:output)%'],
  ['cached', '%DYNAMIC_METADATA(tollgate.usage:cached)%'],
  ['cache_write', '%DYNAMIC_METADATA(tollgate.usage:cache_write)%'],
  ['bytes', '%BYTES_SENT%'],
  ['duration', '%DURATION%'],
  ['end', '%RESPONSE_CODE%'],
  ['attempts', '%UPSTREAM_REQUEST_ATTEMPT_COUNT%'],
  ['upstream_bytes', '%UPSTREAM_WIRE_BYTES_SENT%'],
  ['upstream_received', '%UPSTREAM_WIRE_BYTES_RECEIVED%'],
  ['upstream_duration', '%COMMON_DURATION(US_TX_END:US_RX_END:ms)%'],
])
