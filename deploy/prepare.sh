#!/usr/bin/env bash
# Makes what deploy/compose.yaml needs and nobody else may know, once: deploy/.env with passwords and keys, deploy/secrets with certificates
# and credentials, deploy/data for the servers. All of it is yours alone. What is there is left as it is.
#
#   IRONFLOW_CLI      how the CLI is run ("docker run …" of the image ironflow/cli)
#   DEPLOY_FOLDER     where (the folder of this script)
set -euo pipefail
umask 077
folder=$(cd "${DEPLOY_FOLDER:-$(dirname "$0")}" && pwd)
cd "$folder"
user="$(id -u):$(id -g)"
image="${IRONFLOW_REGISTRY:-}ironflow/cli:${IRONFLOW_TAG:-0.1.0}"
if [ -n "${IRONFLOW_CLI:-}" ]; then
  read -r -a cli <<<"$IRONFLOW_CLI"
else
  cli=(docker run --rm --user "$user" --volume "$folder/secrets:$folder/secrets" "$image")
fi

if [ -e .env ] || [ -e secrets ]; then
  echo "$folder has .env or secrets/ already: they are the only keys to what is stored, and are left as they are" >&2
  exit 1
fi
mkdir -p secrets/{services,api,postgres,nats-tls,nats-server} "${IRONFLOW_DATA:-data}"/{postgres,nats,gateway}

# An authority for this installation alone, which signs for its two servers; its key is not kept.
authority_key=$(mktemp)
trap 'rm -f "$authority_key"' EXIT
openssl ecparam -name prime256v1 -genkey -noout -out "$authority_key"
openssl req -x509 -new -key "$authority_key" -days 3650 -subj '/CN=ironflow' -out secrets/services/ca.crt 2>/dev/null
certificate() {
  local name=$1 key=$2 certificate=$3
  openssl ecparam -name prime256v1 -genkey -noout -out "$key"
  openssl req -new -key "$key" -subj "/CN=$name" 2>/dev/null |
    openssl x509 -req -CA secrets/services/ca.crt -CAkey "$authority_key" -days 3650 -out "$certificate" \
      -extfile <(printf 'subjectAltName=DNS:%s,DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth' "$name") 2>/dev/null
}
certificate postgres secrets/postgres/tls.key secrets/postgres/tls.crt
certificate nats secrets/nats-tls/tls.key secrets/nats-tls/tls.crt
cp secrets/services/ca.crt secrets/nats-tls/ca.crt

"${cli[@]}" nats init --out "$folder/secrets/operator" --accounts-dir /data/accounts >/dev/null
# Each container gets what it needs, and nobody the rest.
cp secrets/operator/operator.conf secrets/nats-server/
cp secrets/operator/platform.creds secrets/services/
cp secrets/operator/accounts.json secrets/api/
operator_key=$("${cli[@]}" operator-keys generate)

cat >.env <<END
IRONFLOW_USER=$user
POSTGRES_PASSWORD=$(openssl rand -hex 24)
IRONFLOW_SERVICE_PASSWORD=$(openssl rand -hex 24)
IRONFLOW_TENANT_PASSWORD=$(openssl rand -hex 24)
IRONFLOW_MASTER_KEY=$(openssl rand -base64 32)
IRONFLOW_OPERATOR_KEY=$operator_key
END
echo "made $folder/.env and $folder/secrets; take $folder/secrets/operator offline, and keep a copy of .env where the backups are not"
