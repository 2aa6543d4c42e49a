#!/bin/sh
# Makes the secrets that docker-compose.yml reads, each one unless it is there: the words of the minting wallet, and Grafana's password.
# By a container, so that they belong to the user of the containers (10001) and nobody else; keep a copy of the words.
#
#   docker compose build && deploy/secrets.sh [DIRECTORY]     # secrets, unless given
set -eu
cd "$(dirname "$0")/.."
directory=${1:-secrets}
mkdir -p "$directory"
docker run --rm --user 0 --network none --volume "$PWD/$directory:/secrets" --workdir /secrets --entrypoint sh laurel:local -euc '
  umask 077
  [ -e wallet.mnemonic ] || laurel wallet new wallet.mnemonic
  [ -e grafana.password ] || python -c "import secrets; print(secrets.token_urlsafe(18))" > grafana.password
  chown 10001:10001 wallet.mnemonic grafana.password
  chmod 640 wallet.mnemonic grafana.password'
