/**
 * The environment of a platform that is made to be thrown away (demo, benchmark, faults). Such a platform sets the passwords
 * of database roles and seals keys with a master key that is gone afterwards, so it must never meet the servers, nor the
 * settings, of whoever starts it: only what programs need to run at all is passed on.
 */
const passedOn = [
  'PATH',
  'HOME',
  'USER',
  'LANG',
  'LC_ALL',
  'TZ',
  'TMPDIR',
  'XDG_CACHE_HOME',
  'NATS_SERVER_BIN',
  'NODE_EXTRA_CA_CERTS',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  ...['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'NO_PROXY'].flatMap((name) => [name, name.toLowerCase()]),
];

export function isolatedEnv(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept = Object.entries(env).filter(([name]) => passedOn.includes(name));
  return { ...Object.fromEntries(kept), DATABASE_URL: '', NATS_URL: '' };
}
