#!/usr/bin/env bash
# Images to ECR: ecr-push.sh [--aws] [IMAGE ...]     (default: bintally-train, -serve, -function, -explore)
#
# Creates what is missing (repositories with scan on push, immutable tags and a lifecycle policy), tags with
# the git commit, pushes, and prints every image's URI by digest, which the services use from then on. Doing
# it again changes nothing: a tag that is there already is kept. Works on AWS and on localcloud alike, as the
# standard AWS environment says ('make push' sets it); on AWS itself it wants to be asked with --aws.
set -euo pipefail
cd "$(dirname "$0")"

ALL=(bintally-train bintally-serve bintally-function bintally-explore)
URIS=${BINTALLY_LOCAL:-.local}/images.json   # read by services/aws.py

# What images are of, and are labelled with: the commit, or where there is other work, all that can get into
# one (.dockerignore). What is proved of an image is not in it.
INSIDE=(containers docker ':!docker/explore.proved')
revision() {
  if [ -z "$(git status --porcelain -- "${INSIDE[@]}")" ]; then
    git rev-parse HEAD
  else
    local index
    index=$(mktemp)
    cp "$(git rev-parse --git-path index)" "$index"
    printf 'dirty-%s\n' "$(GIT_INDEX_FILE=$index sh -c 'git add -A -- "$@" && git write-tree' - "${INSIDE[@]}")"
    rm -f "$index"
  fi
}

say() { printf '%s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }

on_aws=
images=()
for argument in "$@"; do
  case $argument in
    --aws) on_aws=yes ;;
    --revision) revision; exit ;;
    -h|--help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit ;;
    -*) fail "unknown option $argument" ;;
    *) images+=("$argument") ;;
  esac
done
PATH=$PWD/.local/venv/operator/bin:$PATH     # the AWS CLI and Python that 'make install' put there
for tool in aws docker git python3; do
  command -v "$tool" >/dev/null || fail "$tool is missing"
done

# --- where to -------------------------------------------------------------------------------------

account=$(aws sts get-caller-identity --query Account --output text) || fail "no AWS answers: is localcloud up ('make up'), or are there credentials?"
region=${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}
[ -n "$region" ] || fail "no region: set AWS_REGION"
export AWS_DEFAULT_REGION=$region
if [ -n "${AWS_ENDPOINT_URL:-}" ]; then
  say "target: localcloud at $AWS_ENDPOINT_URL"
else
  say "target: AWS account $account in $region"
  [ -n "$on_aws" ] || fail "this creates repositories and stores images on AWS, which cost money: add --aws"
fi

# One policy, whoever creates the repositories: the default of the template's parameter.
LIFECYCLE=$(python3 - <<'PYTHON'
import yaml

yaml.SafeLoader.add_multi_constructor("!", lambda loader, tag, node: None)
with open("infra/bintally.yaml") as template:
    print(yaml.safe_load(template)["Parameters"]["RepositoryLifecycle"]["Default"])
PYTHON
)

# --- what -----------------------------------------------------------------------------------------

docker info >/dev/null 2>&1 || fail "no Docker engine answers"
if [ ${#images[@]} -eq 0 ]; then
  for image in "${ALL[@]}"; do
    if docker image inspect "$image" >/dev/null 2>&1; then
      images+=("$image")
    else
      say "$image has not been built, and is left out"
    fi
  done
  [ ${#images[@]} -gt 0 ] || fail "no image has been built: run 'make build' first"
fi
for image in "${images[@]}"; do
  docker image inspect "$image" >/dev/null 2>&1 || fail "there is no image $image here: run 'make build' first"
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
revision=$(revision)
case $revision in
  dirty-*) tag=${revision:0:18} ;;
  *) tag=${revision:0:12} ;;
esac
for image in "${images[@]}"; do               # a tag must not hold an image of anything else
  built=$(docker image inspect -f '{{with .Config.Labels}}{{index . "org.opencontainers.image.revision"}}{{end}}' "$image")
  case $built in
    ''|unknown|"$revision") ;;
    *) fail "$image was built from $built, and this is $revision: run 'make build' first" ;;
  esac
done

# --- push -----------------------------------------------------------------------------------------

repository() {  # repository NAME: create it, or bring it into shape; prints its address
  local shape='[repositoryUri,imageTagMutability,imageScanningConfiguration.scanOnPush]' address mutability scan
  if aws ecr describe-repositories --repository-names "$1" --query "repositories[0].$shape" --output text \
      >"$scratch/found" 2>"$scratch/said"; then
    read -r address mutability scan <"$scratch/found"
    [ "$mutability" = IMMUTABLE ] ||
      aws ecr put-image-tag-mutability --repository-name "$1" --image-tag-mutability IMMUTABLE >/dev/null
    [ "$scan" = True ] ||
      aws ecr put-image-scanning-configuration --repository-name "$1" \
        --image-scanning-configuration scanOnPush=true >/dev/null
  else
    grep -q RepositoryNotFoundException "$scratch/said" || { cat "$scratch/said" >&2; return 1; }
    address=$(aws ecr create-repository --repository-name "$1" --tags Key=project,Value=bintally \
      --image-tag-mutability IMMUTABLE --image-scanning-configuration scanOnPush=true \
      --query repository.repositoryUri --output text)
    say "$1: repository created"
  fi
  aws ecr put-lifecycle-policy --repository-name "$1" --lifecycle-policy-text "$LIFECYCLE" >/dev/null
  printf '%s\n' "$address"
}

digest() {  # digest NAME: of the image that has the tag; fails if none has
  aws ecr describe-images --repository-name "$1" --image-ids "imageTag=$tag" \
    --query 'imageDetails[0].imageDigest' --output text 2>"$scratch/said" && return
  grep -q ImageNotFoundException "$scratch/said" || { cat "$scratch/said" >&2; exit 1; }
  return 1
}

# What docker login leaves behind is a password: it goes with the scratch folder.
export DOCKER_CONFIG=$scratch/docker
logged_in=
for image in "${images[@]}"; do
  address=$(repository "$image")
  if found=$(digest "$image"); then
    if docker image inspect -f '{{join .RepoDigests "\n"}}' "$image" | grep -qxF "$address@$found"; then
      say "$image: $tag is there already, and is kept"
    else
      say "$image: $tag is there already, and is kept; the image here is another build of it, and is not pushed" \
        "(to replace it: aws ecr batch-delete-image --repository-name $image --image-ids imageTag=$tag)"
    fi
  else
    if [ -z "$logged_in" ]; then
      aws ecr get-login-password | docker login --username AWS --password-stdin "${address%%/*}" >/dev/null 2>"$scratch/said" \
        || { cat "$scratch/said" >&2; fail "docker login at ${address%%/*} failed"; }
      logged_in=yes
    fi
    docker tag "$image" "$address:$tag"
    docker push --quiet "$address:$tag" >/dev/null
    found=$(digest "$image") || fail "$image was pushed, and ECR does not know $tag"
    say "$image: pushed as $tag"
  fi
  printf '%s %s\n' "$image" "$address@$found" >>"$scratch/uris"
  printf '%s\n' "$address@$found"
done

mkdir -p "$(dirname "$URIS")"
python3 - "$URIS" "$account/$region" "$scratch/uris" <<'PYTHON'
"""Keep the URIs of other accounts and images; replace these."""
import json, pathlib, sys

path, target, new = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
known = json.loads(path.read_text()) if path.exists() else {}
known.setdefault(target, {}).update(line.split() for line in new.read_text().splitlines())
part = path.with_suffix(".part")
part.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
part.replace(path)
PYTHON
