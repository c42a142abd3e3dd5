"""Files that a VM unpacks at its boot: those that differ between hosts, in the role of AMI and network."""

from __future__ import annotations

import json
from collections.abc import Mapping

from localcloud.core.addresses import ENDPOINT_PORT, METADATA_ADDRESS, AddressBlock
from localcloud.hosts import system_files
from localcloud.hosts.spec import HostSpec
from localcloud.hosts.vm import qemu

_SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Variables that programs run by sudo need for access to the cloud.
_SUDO_KEEPS = "AWS_* *_PROXY *_proxy PIP_* LANG"
# A VM has the metadata service at its own address.
_METADATA_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"


def archive(spec: HostSpec, block: AddressBlock, network: Mapping[str, str]) -> bytes:
    """Return a tar of the files, to be unpacked at the root of a VM's disk; root owns them.

    :param network: the owner's variables for access to the network.
    """
    variables = _variables(spec, network)
    session = "".join(f'{name}="{value}"\n' for name, value in variables.items())
    # systemd expands percent signs, which URLs may contain.
    services = "".join(f'DefaultEnvironment="{name}={value}"\n'.replace("%", "%%") for name, value in variables.items())
    files = {
        **system_files.package_faults(spec),
        # For sessions, by PAM; and for services.
        "etc/environment": session,
        "etc/systemd/system.conf.d/50-localcloud.conf": f"[Manager]\n{services}",
        "etc/sudoers.d/50-localcloud": f'Defaults env_keep += "{_SUDO_KEEPS}"\n',
        "etc/cloud/cloud.cfg.d/95-localcloud.cfg": json.dumps(
            {"system_info": {"default_user": system_files.login_user(spec)}}
        ),
        "etc/ssh/sshd_config.d/50-localcloud.conf": f"Port {spec.port}\n",
        "etc/hosts": f"127.0.0.1 localhost\n{spec.address} {spec.hostname}\n",
        "etc/resolv.conf": qemu.RESOLVER_CONFIG,
        "etc/localcloud/network": qemu.network_script(spec, block),
    }
    return system_files.to_tar(files)


def _variables(spec: HostSpec, network: Mapping[str, str]) -> dict[str, str]:
    owner = network.get("NO_PROXY") or network.get("no_proxy")
    # A VM reaches the endpoint at the metadata service's address: the endpoint's own is on this computer's loopback.
    exceptions = ",".join(filter(None, [owner, METADATA_ADDRESS, spec.address]))
    own = {
        "PATH": _SEARCH_PATH,
        "AWS_ENDPOINT_URL": f"http://{METADATA_ADDRESS}:{ENDPOINT_PORT}",
        **{"NO_PROXY": exceptions, "no_proxy": exceptions, "LANG": "C.UTF-8"},
    }
    return {name: value for name, value in {**network, **spec.environment, **own}.items() if name != _METADATA_VARIABLE}
