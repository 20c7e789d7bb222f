#!/bin/sh
# The same without Python: examples/curl.sh FILE...
# CXRSERVE_URL says where the service is (http://localhost:3000).
set -eu
url=${CXRSERVE_URL:-http://localhost:3000}

echo "# what is loaded"
curl --silent --show-error --fail "$url/v1/models"
echo

echo "# one film; curl obeys Retry-After"
curl --silent --show-error --fail-with-body --retry 5 --retry-connrefused --max-time 30 \
    --data-binary "@$1" "$url/v1/predict?deadline_ms=20000"
echo

echo "# all of them, one JSON line each, as soon as it is done"
# curl takes ; and , in a file name for its own, unless the name is quoted.
for file in "$@"; do
    printf 'form = "image=@\\"%s\\""\n' "$file"
done | curl --silent --show-error --fail-with-body --no-buffer --config - "$url/v1/predict/batch"
