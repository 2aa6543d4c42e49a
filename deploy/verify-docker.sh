#!/usr/bin/env bash
# Builds the images, starts all of docker-compose.yml with the local TON network, sends events and waits for their token, looks at Prometheus,
# Grafana and what the containers may not do, and removes everything again: `make verify-docker`. Prints one verdict; exits 0 if all of it holds.
# A project and secrets of its own; the ports of docker-compose.yml must be free.
set -euo pipefail
cd "$(dirname "$0")/.."

export COMPOSE_PROJECT_NAME=laurel-verify COMPOSE_PROFILES=sandbox
secrets=.laurel/verify-docker
export WALLET_MNEMONIC_FILE=./$secrets/wallet.mnemonic GRAFANA_ADMIN_PASSWORD_FILE=./$secrets/grafana.password
user=7f3a1c9e-0000-4000-8000-000000000001
wallet=0:0000000000000000000000000000000000000000000000000000000000000007
step="nothing was started"

finish() {
  code=$?
  trap - EXIT
  if [ "$code" = 0 ]; then
    verdict="VERIFIED: the stack came up, and an event became a token."
  else
    verdict="NOT VERIFIED: $step."
    docker compose logs --tail 30 || true
  fi
  docker compose down --volumes >/dev/null 2>&1 || true
  echo "$verdict"
  exit "$code"
}
trap finish EXIT

step() { step=$1; printf '== %s (%s s)\n' "$step" "$SECONDS"; }
# inside SERVICE COMMAND...: run a command in a container that runs.
inside() { docker compose exec -T "$@"; }
# until_so COMMAND...: try it for five minutes.
until_so() { for _ in $(seq 150); do if "$@"; then return; fi; sleep 2; done; return 1; }
# Not by `grep -q`: it ends at once, and what writes to it fails.
minted() { inside worker laurel explain "$user" ambassador | grep ', minted'; }
all_up() { inside prometheus promtool query instant http://127.0.0.1:9090 'sum(up)' | grep '=> 3 '; }

step "build the images"
docker compose build --quiet --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)"

step "make the secrets"
deploy/secrets.sh "$secrets"

step "start all services, and wait until each is well"
docker compose up --detach --wait --wait-timeout 600

step "give the wallet money"
address=$(inside minter laurel wallet show | awk '/^raw / {print $2}')
inside ton laurel sandbox fund "$address"

step "send events"
inside worker laurel send wallet.linked address="$wallet" --user "$user"
inside worker laurel send partner.joined partner_id=p1 --times 6 --user "$user"

step "see the token"
until_so minted
inside minter laurel reconcile

step "see two workers and a minter in Prometheus"
until_so all_up

step "see boards in Grafana, without a password"
inside grafana wget -q -O - 'http://127.0.0.1:3000/api/search?type=dash-db' | grep '"uid"' >/dev/null

step "see that a worker is nobody, and can do and write nothing"
[ "$(inside worker id -u)" = 10001 ]
inside worker cat /proc/1/status | grep '^CapBnd:[[:space:]]*0*$' >/dev/null
# Its own directory in the image, which only a read-only root keeps it from.
if inside worker touch /var/lib/laurel/ton/written 2>/dev/null; then exit 1; fi

step "see workers and minter end in order"
docker compose stop worker minter
[ "$(docker compose ps --all --quiet worker minter | xargs docker inspect --format '{{.State.ExitCode}}')" = $'0\n0\n0' ]
