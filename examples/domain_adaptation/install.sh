#!/bin/sh
# What the Dockerfile installs:   install.sh packages | horovod    (PIP_OPTIONS, ca.pem: see there)
set -eu
[ ! -f ca.pem ] || export PIP_CERT="$PWD/ca.pem" SSL_CERT_FILE="$PWD/ca.pem"
# The image is the environment; a Debian's own Python would refuse.
export PIP_BREAK_SYSTEM_PACKAGES=1
# shellcheck disable=SC2086  # several words on purpose
pip() { python -m pip install --disable-pip-version-check $PIP_OPTIONS "$@"; }
pinned() { sed -n "s/^$1==\([^ #]*\).*/\1/p" requirements.txt; }
PIP_OPTIONS=${PIP_OPTIONS:-}

case $1 in
packages)
    version=$(pinned torch)
    # A base for GPUs brings its own. What the public registry calls just the version is CUDA's, several gigabytes: PyTorch's
    # index of CPU builds (https://pytorch.org/get-started/locally) in PIP_OPTIONS, as --extra-index-url, spares them.
    python -c 'import torch' 2>/dev/null || pip "torch==$version+cpu" || pip "torch==$version"
    sed '/^torch==/d; /^horovod==/d' requirements.txt >others.txt
    pip -r others.txt cffi cloudpickle psutil pyyaml packaging
    ;;
horovod)
    version=$(pinned horovod)
    mkdir -p out
    for wheel in wheels/horovod-"$version"-*.whl; do
        # It was compiled against one torch; with another it does not load.
        if [ -f "$wheel" ] && pip --no-deps "$wheel" && python -c 'import horovod.torch'; then
            cp "$wheel" out/
            exit 0
        fi
    done
    tools=
    for tool in g++ make cmake; do
        command -v $tool >/dev/null || tools="$tools $tool"
    done
    # A Debian's own Python comes without its headers, others with them.
    python -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
        tools="$tools python3-dev"
    [ -z "$tools" ] || {
        apt-get update
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $tools
    }
    pip wheel setuptools
    # Horovod's build asks for C++14 in its own CMake files, this torch for C++17: the last -std wins.
    printf '#!/bin/sh\nexec g++ "$@" -std=c++17\n' >/usr/local/bin/cxx17
    chmod +x /usr/local/bin/cxx17
    if python -c 'import sys, torch; sys.exit(torch.version.cuda is None)'; then
        export HOROVOD_GPU_OPERATIONS=NCCL HOROVOD_BUILD_CUDA_CC_LIST=75,80,86,89,90
    fi
    # shellcheck disable=SC2086
    MAKEFLAGS="-j$(nproc)" CXX=/usr/local/bin/cxx17 CMAKE_POLICY_VERSION_MINIMUM=3.5 HOROVOD_WITH_PYTORCH=1 HOROVOD_WITH_GLOO=1 \
        HOROVOD_WITHOUT_MPI=1 HOROVOD_WITHOUT_TENSORFLOW=1 HOROVOD_WITHOUT_MXNET=1 \
        python -m pip wheel $PIP_OPTIONS --no-deps --no-build-isolation -w out "horovod==$version"
    ;;
*)
    echo "install.sh: packages or horovod" >&2
    exit 2
    ;;
esac
