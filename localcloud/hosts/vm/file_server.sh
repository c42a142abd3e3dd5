#!/bin/sh
# First program of a VM that stands for an EFS file system: an NFS server of the kernel, version 4 only. Its second serial
# port takes lines "add ADDRESS/PREFIX" and "del ADDRESS/PREFIX" for the addresses of mount targets, once it said "ready".
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /run
ip link set lo up
modprobe -a nfsd ext4
mount -t nfsd nfsd /proc/fs/nfsd
# The device of the file system is the third. It needs no journal: it ends with the server.
blkid /dev/vdc >/dev/null || mkfs.ext4 -q -m 0 -O ^has_journal -E lazy_itable_init=1 /dev/vdc
mkdir -p /srv/files /run/rpc_pipefs
# The file behind it takes what is written: unused inodes stay unwritten.
mount -o noatime,noinit_itable /dev/vdc /srv/files
rmdir /srv/files/lost+found 2>/dev/null
# Nothing was open before this boot.
echo 10 >/proc/fs/nfsd/nfsv4gracetime
exportfs -o rw,async,fsid=0,no_root_squash,no_subtree_check,insecure '*:/srv/files'
if command -v nfsv4.exportd >/dev/null; then nfsv4.exportd; else rpc.mountd --no-nfs-version 3; fi
rpc.nfsd --no-nfs-version 3 --no-udp 4
exec 3<>/dev/ttyS1
stty -F /dev/ttyS1 raw -echo
echo ready >&3
while read -r verb address <&3; do
    case $verb in add | del) ip addr "$verb" "$address" dev eth0 ;; esac
done
# The first program must not end.
while :; do sleep 86400; done
