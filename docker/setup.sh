#!/bin/sh
# Copyright (C) nginx-cycles authors
#
# Makes a tenant, its budget and an API key at the admin plane of a Cycles
# server, ADMIN_URL, and leaves the key in KEY_FILE.  A second run does nothing.

set -eu

[ ! -s "$KEY_FILE" ] || exit 0


post() {
    curl -sS --retry 10 --retry-connrefused \
        -H "X-Admin-API-Key: $ADMIN_API_KEY" \
        -H "Content-Type: application/json" -d "$2" "$ADMIN_URL$1"
}


post /v1/admin/tenants '{ "tenant_id": "acme", "name": "Acme" }'
echo

post /v1/admin/budgets '{ "tenant_id": "acme", "scope": "tenant:acme",
    "unit": "USD_MICROCENTS",
    "allocated": { "unit": "USD_MICROCENTS", "amount": 1000000000 } }'
echo

# the secret is shown this once

post /v1/admin/api-keys '{ "tenant_id": "acme", "name": "gateway" }' \
    | sed -n 's/.*"key_secret" *: *"\([^"]*\)".*/\1/p' > "$KEY_FILE.new"

[ -s "$KEY_FILE.new" ] || { echo "there is no key" >&2; exit 1; }
mv "$KEY_FILE.new" "$KEY_FILE"
