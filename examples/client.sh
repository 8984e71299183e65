#!/usr/bin/env bash
# Classifies photos with a running server, all in one request, and prints the JSON of the answer. Needs curl 7.76.
#
#     examples/client.sh cat.jpg dog.jpg
#     CLASSIFIER_URL=http://127.0.0.1:8080/predictions/my-model examples/client.sh cat.jpg
#
# Exit code 22: the server refused the request or all of its photos; the answer says why.
set -euo pipefail

url=${CLASSIFIER_URL:-http://127.0.0.1:8080/predictions/cat-breeds}

# Each image needs a field of its own: TorchServe keeps only the last of two fields with one name. The type is given
# because curl guesses it from the file's name, and TorchServe reads a field of type text/plain as text.
fields=()
for photo in "$@"; do
    fields+=(--form "image$((${#fields[@]} / 2 + 1))=@\"$photo\";type=application/octet-stream")
done

# --retry sends again after 503, when Retry-After says so. --noproxy keeps a proxy of the environment out of the way.
exec curl --silent --show-error --fail-with-body --noproxy '*' --retry 5 --connect-timeout 3 --max-time 60 \
    "${fields[@]}" --form top_k=3 "$url"
