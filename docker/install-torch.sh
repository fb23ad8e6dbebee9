#!/bin/sh
# Steps of the images that carry torch.
#
#   install-torch.sh cpu|gpu INDEX REQUIREMENTS   torch of that build into /opt/venv
#   install-torch.sh strip                        drop what nothing at run time reads
#
# A CPU build has the local version "+cpu". It is asked for by name, so that an image never gets the
# CUDA build (gigabytes) unnoticed; "===" asks for a version without one.
set -eu

if [ "$1" = strip ]; then
  cd /opt/venv/lib/python3.11/site-packages
  # sagemaker-training asks for pip, to install what a user's own script needs; ours needs nothing.
  rm -rf pip pip-*.dist-info /opt/venv/bin/pip*
  rm -rf torch/include torch/share torch/test caffe2 functorch/benchmarks
  find torch -name '*.a' -delete
  find . -name '__pycache__' -path '*/tests/*' -prune -exec rm -rf {} +
  exit
fi

version=$(sed -n 's/^torch==\([0-9.]*\).*/\1/p' "$3")
case "$1" in
  cpu) pin="torch==$version+cpu" ;;
  gpu) pin="torch===$version" ;;
  *) echo "error: TORCH=$1; it is cpu or gpu" >&2; exit 2 ;;
esac
pip --python /opt/venv install -q --no-cache-dir -c "$(dirname "$3")/constraints.txt" ${2:+--extra-index-url "$2"} "$pin" || {
  echo "error: no $pin was found: give --build-arg TORCH_INDEX=<an index that has it>, or TORCH=gpu" >&2
  exit 1
}
