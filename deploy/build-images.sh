#!/usr/bin/env bash
# Builds the images of all programs: deploy/build-images.sh [program ...]
#
#   REGISTRY    put before the names, such as registry.example.org/team (nothing)
#   TAG         the version in package.json
#   NODE_IMAGE  the base, by its digest where images have to be made again the same (that of the Dockerfile)
#   BUILDER     docker, podman or buildah (docker)
#   PUSH        1 pushes each image once all are built
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^  "version": "\(.*\)",$/\1/p' package.json)
tag=${TAG:-$version}
builder=${BUILDER:-docker}
programs=("$@")
if [ ${#programs[@]} -eq 0 ]; then
  programs=(ingest scheduler executor result-collector cron circuit-breaker api cli)
fi
arguments=(--build-arg "VERSION=$version")
if [ -n "${NODE_IMAGE:-}" ]; then arguments+=(--build-arg "NODE_IMAGE=$NODE_IMAGE"); fi

images=()
for program in "${programs[@]}"; do
  image="${REGISTRY:+$REGISTRY/}ironflow/$program:$tag"
  "$builder" build --file deploy/Dockerfile --build-arg "SERVICE=$program" "${arguments[@]}" --tag "$image" .
  images+=("$image")
done
for image in "${images[@]}"; do
  if [ "${PUSH:-}" = 1 ]; then "$builder" push "$image"; fi
  echo "$image"
done
