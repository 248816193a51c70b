import { execFile } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, describe, expect, test } from 'vitest'
import { createCertificates } from '../../deploy/demo/certificates.js'
import { findEnvoy } from '../../deploy/demo/find-envoy.js'
import { startEnvoyProcess } from './envoy-process.js'
import { envoy, envoyText, mountOf, pod, rendered } from './gateway.js'
import { repository } from './kustomization.js'
import { named } from './workload.js'

describe('the real Envoy, its files as the pod has them', () => {
  const root = mkdtempSync(join(tmpdir(), 'tollgate-pod-'))
  afterAll(() => {
    rmSync(root, { recursive: true, force: true })
  })

  /** The text with the pod's paths below `root`. */
  const moved = (text: string): string =>
    text.replace(/\/(etc\/envoy|run\/tollgate)\//g, `${root}/$1/`)

  for (const { name, mountPath } of envoy.volumeMounts ?? []) {
    const { configMap } = named(pod.volumes ?? [], name)
    mkdirSync(join(root, mountPath), { recursive: true })
    if (configMap === undefined) continue
    for (const [key, file] of named(rendered.configMaps, configMap.name).files) {
      writeFileSync(join(root, mountPath, key), moved(readFileSync(join(repository, file), 'utf8')))
    }
  }
  const certificates = join(root, named(envoy.volumeMounts ?? [], 'certificates').mountPath)
  const args = (envoy.args ?? []).map(moved)

  /** A volume of Secrets as the kubelet makes and renews it: `..data` is a link that is replaced by a rename. */
  async function mountCertificate(version: string): Promise<string> {
    const source = mkdtempSync(join(root, 'issued-'))
    const { envoy: issued, authorityFile } = await createCertificates(source, [])
    mkdirSync(join(certificates, version))
    for (const [key, file] of [
      ['tls.crt', issued.certificateFile],
      ['tls.key', issued.keyFile],
      ['ca.crt', authorityFile],
    ] as const) {
      copyFileSync(file, join(certificates, version, key))
      if (version === '..first') symlinkSync(`..data/${key}`, join(certificates, key))
    }
    symlinkSync(version, join(certificates, '..data_tmp'))
    renameSync(join(certificates, '..data_tmp'), join(certificates, '..data'))
    return new X509Certificate(readFileSync(issued.certificateFile)).serialNumber.toLowerCase()
  }

  test('it finds every file that it is told of in a mount', () => {
    const paths = [
      envoyText,
      ...['client-certificate.yaml', 'authority.yaml'].map((name) =>
        readFileSync(join(repository, 'deploy', 'envoy', name), 'utf8'),
      ),
    ].flatMap(
      (text) =>
        text.replaceAll(/#.*/g, '').match(/\/(etc|run)\/[\w./-]+\.(yaml|crt|key|sock)\b/g) ?? [],
    )
    expect(paths.length).toBeGreaterThan(4)
    expect(paths.filter((path) => mountOf(envoy, path) === undefined)).toEqual([])
  })

  test('it accepts them, and takes up a certificate that is renewed', async () => {
    const first = await mountCertificate('..first')
    await promisify(execFile)(findEnvoy(), [...args, '--mode', 'validate'])

    const config = join(root, '/etc/envoy/config/envoy.yaml')
    const onFreePorts = readFileSync(config, 'utf8')
      .replace('address: 0.0.0.0, port_value: 8080', 'address: 127.0.0.1, port_value: 0')
      .replace('address: 127.0.0.1, port_value: 9901', 'address: 127.0.0.1, port_value: 0')
    writeFileSync(config, onFreePorts)
    const running = await startEnvoyProcess(root, args)
    try {
      const shown = async (): Promise<string> =>
        (await (await fetch(`${running.adminUrl}/certs`)).text()).toLowerCase()
      expect(await shown()).toContain(first)
      const second = await mountCertificate('..second')
      await expect.poll(shown, { timeout: 15_000 }).toContain(second)
      expect(await shown()).not.toContain(first)
    } finally {
      await running.child.stop()
    }
  })
})
