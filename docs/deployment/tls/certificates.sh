#!/bin/sh
# An authority of your own, and with it a certificate for the server and one for the site, in this directory.
# ca.key signs more of them: keep it off both machines.
set -eu
umask 077

issue() { # name, days, extensions
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$1.csr"
    printf '%s\n' "$3" > "$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial \
        -days "$2" -extfile "$1.ext" -out "$1.crt"
    rm "$1.csr" "$1.ext"
}

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
    -subj "/CN=Session servers" \
    -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout ca.key -out ca.crt
issue server 825 "subjectAltName=DNS:redis.example.com
extendedKeyUsage=serverAuth
authorityKeyIdentifier=keyid"
issue client 825 "subjectAltName=DNS:mysite
extendedKeyUsage=clientAuth
authorityKeyIdentifier=keyid"
