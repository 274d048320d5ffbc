#!/bin/sh
# Dumps the database of PGHOST, PGUSER and PGDATABASE into the folder $1, every BACKUP_INTERVAL_HOURS (0: once),
# and keeps the newest BACKUPS_KEPT. Restore one with:
#   pg_restore --clean --if-exists --dbname=fentan FILE
set -eu
folder=$1
dump=
trap 'rm -f "$dump.partial"' EXIT

while :; do
  # What was killed half way; what is being written beside is younger.
  find "$folder" -name 'fentan-*.dump.partial' -mmin +1440 -exec rm -- {} +
  dump="$folder/fentan-$(date -u +%Y%m%dT%H%M%SZ).dump"
  pg_dump --format=custom --file="$dump.partial"
  # A dump without a readable table of contents is no backup, and must not push a good one out.
  pg_restore --list "$dump.partial" > /dev/null
  mv "$dump.partial" "$dump"
  echo "backup: wrote $dump"
  find "$folder" -name 'fentan-*.dump' | sort -r | tail -n "+$((BACKUPS_KEPT + 1))" | xargs -r rm --
  if [ "$BACKUP_INTERVAL_HOURS" -eq 0 ]; then exit 0; fi
  sleep "$((BACKUP_INTERVAL_HOURS * 3600))"
done
