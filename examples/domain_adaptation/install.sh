#!/bin/sh
# Install packages for the Dockerfile:   install.sh packages | horovod    (PIP_OPTIONS, ca.pem: see there)
set -eu
[ ! -f ca.pem ] || export PIP_CERT="$PWD/ca.pem" SSL_CERT_FILE="$PWD/ca.pem"
# The image is the environment; Debian's Python would otherwise refuse to install packages.
export PIP_BREAK_SYSTEM_PACKAGES=1
# shellcheck disable=SC2086  # PIP_OPTIONS must split into words
pip() { python -m pip install --disable-pip-version-check $PIP_OPTIONS "$@"; }
pinned() { sed -n "s/^$1==\([^ #]*\).*/\1/p" requirements.txt; }
PIP_OPTIONS=${PIP_OPTIONS:-}

case $1 in
packages)
    version=$(pinned torch)
    # A GPU base has its own torch. The public registry's default build is for CUDA, several gigabytes; to avoid it, put
    # PyTorch's index of CPU builds (https://pytorch.org/get-started/locally) into PIP_OPTIONS as --extra-index-url.
    python -c 'import torch' 2>/dev/null || pip "torch==$version+cpu" || pip "torch==$version"
    sed '/^torch==/d; /^horovod==/d' requirements.txt >others.txt
    pip -r others.txt cffi cloudpickle psutil pyyaml packaging
    ;;
horovod)
    version=$(pinned horovod)
    mkdir -p out
    for wheel in wheels/horovod-"$version"-*.whl; do
        # A wheel compiled against another torch installs but does not load.
        if [ -f "$wheel" ] && pip --no-deps "$wheel" && python -c 'import horovod.torch'; then
            cp "$wheel" out/
            exit 0
        fi
    done
    tools=
    for tool in g++ make cmake; do
        command -v $tool >/dev/null || tools="$tools $tool"
    done
    # Debian's Python lacks the header files, others include them.
    python -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
        tools="$tools python3-dev"
    [ -z "$tools" ] || {
        apt-get update
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $tools
    }
    pip wheel setuptools
    # Horovod's CMake files request C++14, this torch needs C++17; the last -std on the command line takes effect.
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
