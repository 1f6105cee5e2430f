#!/bin/sh
# Writes deploy/.env with secrets of this machine's own, which deploy/compose.yaml needs. Run it once:
#
#   sh deploy/compose/secrets.sh
#
# Never overwrites a file that is there. The file is for its user alone; back it up where secrets may be.
set -eu
target="$(dirname "$0")/../.env"

random() { od -An -vtx1 -N32 /dev/urandom | tr -d ' \n'; }

if [ -e "$target" ]; then
    echo "$target is there already, and stays as it is" >&2
    exit 1
fi
umask 077
made=$(mktemp "$target.XXXXXX")
trap 'rm -f "$made"' EXIT
{
    echo "# made by deploy/compose/secrets.sh"
    echo "SECRET_KEY=$(random)"
    echo "ADMIN_SECRET=$(random)"
    echo "MINIO_ACCESS_KEY=hiper"
    echo "MINIO_SECRET_KEY=$(random)"
    echo "RABBITMQ_PASSWORD=$(random)"
    echo "GRAFANA_PASSWORD=$(random)"
} >"$made"
ln "$made" "$target"  # fails where another run was faster
echo "made $target"
