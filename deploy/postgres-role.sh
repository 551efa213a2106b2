#!/bin/sh
# Run once by the PostgreSQL image, when its volume is empty: an ordinary role for the pods, and a database that it owns.
set -eu

psql --username postgres --dbname postgres --no-psqlrc \
  --set ON_ERROR_STOP=1 --set password="$TOWPATH_DATABASE_PASSWORD" <<'SQL'
create role towpath login nosuperuser nocreatedb nocreaterole password :'password';
create database towpath owner towpath;
SQL
