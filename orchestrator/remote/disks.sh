#!/bin/sh
# Mounts the disks and shared file systems of this VM, now and at every boot (/etc/fstab). What is mounted already stays.
#
#   disks.sh KIND NAME SOURCE PATH TYPE OPTIONS [KIND NAME ...]      six words for each mount
#
# KIND volume: SOURCE is DEVICE,VOLUME-ID of an EBS volume, which gets a file system only if it is empty. KIND local: the
# NVMe disks of the VM, several as one; SOURCE is "-". KIND shared: SOURCE, TYPE and OPTIONS are those of fstab; OPTIONS
# that begin with "new," are of a file system that was just made. "~/" in PATH is the login user's home.
# Prints "@@mounted NAME PATH" for each, "@@note TEXT", and "@@fix TEXT" after the line that says what failed.
set -u
PATH=$PATH:/usr/sbin:/sbin
export PATH
# Below / on a VM; a host that is a folder has everything below that folder.
root=${HOME%/home/*}
[ "$root" != "$HOME" ] || root=
as_root="sudo -n"
[ -z "$root" ] && [ "$(id -u)" -ne 0 ] || as_root=
fstab=$root/etc/fstab
PATIENCE=${STRATUS_DEVICE_PATIENCE:-60}

fail() { # WHAT FIX
    echo "$1"
    echo "@@fix $2"
    exit 1
}

device_of() { # DEVICE VOLUME-ID: prints the path of a volume's block device; on Nitro its serial number is the id
    serial=$(echo "$2" | tr -d -)
    for attempt in $(seq "$PATIENCE"); do
        path=$(lsblk -dnpo NAME,SERIAL 2>/dev/null | awk -v serial="$serial" '$2 == serial { print $1; exit }')
        [ -n "$path" ] && echo "$path" && return
        # Xen, which has no serial numbers, renames sdf to xvdf.
        for path in "/dev/xvd${1#sd}" "/dev/$1"; do
            [ -b "$path" ] && echo "$path" && return
        done
        [ "$attempt" = "$PATIENCE" ] || sleep 1
    done
    return 1
}

format() { # NAME DEVICE: sets device to that with the file system; makes one only on an empty disk
    device=$2 made=
    if [ -z "$(fs_type "$device")" ]; then
        # Of a snapshot, it may be in a partition.
        for part in $(lsblk -nrpo NAME "$2" 2>/dev/null | sed 1d); do
            [ -n "$(fs_type "$part")" ] && device=$part && return
        done
        [ -z "$($as_root blkid -p -o value -s PTTYPE "$2" 2>/dev/null)" ] ||
            fail "$1: the disk has partitions, and no file system that this VM knows" \
                "make a file system on it from a VM that knows it, or take an empty volume"
        $as_root mkfs.ext4 -q -L "$(label "$1")" "$2" >/dev/null || fail "$1: mkfs.ext4 failed on $2" "look at: sudo dmesg"
        made=yes
    fi
}

fs_type() { $as_root blkid -p -o value -s TYPE "$1" 2>/dev/null; }

label() { printf '%.16s' "st-$1"; }

enter() { # NAME LINE: replaces the mount's line in fstab
    old=$(cat "$fstab" 2>/dev/null)
    new=$(printf '%s\n' "$old" | grep -v "x-stratus\.$1[, 	]")
    printf '%s\n' ${new:+"$new"} "$2" | $as_root tee "$fstab.stratus" >/dev/null && $as_root mv "$fstab.stratus" "$fstab" ||
        fail "$1: $fstab cannot be written" "check that sudo works on this VM and that its disk is not full"
    command -v systemctl >/dev/null 2>&1 && $as_root systemctl daemon-reload >/dev/null 2>&1
    return 0
}

point() { # NAME PATH: makes the mount point; fails if files would be hidden
    [ -d "$2" ] || $as_root mkdir -p "$2" || fail "$1: $2 cannot be made" "choose another folder in the config"
    [ -z "$(ls -A "$2" 2>/dev/null)" ] || fail "$1: $2 is not empty: mounting there would hide its files" \
        "choose another folder in the config, or empty it"
}

own() { # PATH: gives a new, empty file system to the login user
    [ -z "$(ls -A "$1" 2>/dev/null | grep -vx lost+found)" ] && $as_root chown "$(id -u):$(id -g)" "$1"
}

client() { # NAME TYPE: installs what mounts this type
    command -v "mount.$2" >/dev/null 2>&1 && return
    echo "@@note installing the client of $2"
    case $2 in
    nfs4) debian=nfs-common red_hat=nfs-utils ;;
    lustre) debian=lustre-client-modules-$(uname -r) red_hat=lustre-client && lustre_source ;;
    esac
    if command -v apt-get >/dev/null 2>&1; then
        output=$({ $as_root apt-get -qq -o DPkg::Lock::Timeout=300 update
            $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 install "$debian"; } 2>&1)
    else
        output=$($as_root dnf -q -y install "$red_hat" 2>&1)
    fi
    command -v "mount.$2" >/dev/null 2>&1 && return
    fail "$1: the client of $2 could not be installed: $(echo "$output" | tail -n 1)" \
        "use an image that has it; for Lustre its kernel must be one that FSx publishes modules for"
}

lustre_source() { # https://docs.aws.amazon.com/fsx/latest/LustreGuide/install-lustre-client.html
    command -v apt-get >/dev/null 2>&1 || return 0
    key=/usr/share/keyrings/fsx-ubuntu-public-key.gpg
    url=https://fsx-lustre-client-repo
    curl -fsS "$url-public-keys.s3.amazonaws.com/fsx-ubuntu-public-key.asc" | gpg --dearmor | $as_root tee $key >/dev/null
    echo "deb [signed-by=$key] $url.s3.amazonaws.com/ubuntu $(. /etc/os-release && echo "$VERSION_CODENAME") main" |
        $as_root tee /etc/apt/sources.list.d/fsxlustreclientrepo.list >/dev/null
}

local_disks() { lsblk -dnpo NAME,MODEL 2>/dev/null | awk '/Instance Storage/ { print $1 }'; }

mounted_at() { lsblk -nro MOUNTPOINT "$@" 2>/dev/null | grep -m 1 /; }

add_local() { # NAME PATH
    disks=$(local_disks)
    [ -n "$disks" ] || fail "$1: this instance type has no local disks" \
        "use a type with NVMe disks (g5, g6, i4i, ...d), or remove the line from [volumes]"
    # shellcheck disable=SC2086  # several disks on purpose
    if other=$(mounted_at $disks); then # images for deep learning mount them at a path of their own
        enter "$1" "$other $2 none bind,nofail,x-stratus.$1 0 0"
        return
    fi
    count=$(echo "$disks" | wc -l)
    device=$(echo "$disks" | head -n 1)
    if [ "$count" -gt 1 ]; then
        if command -v mdadm >/dev/null 2>&1; then
            device=/dev/md/stratus
            # shellcheck disable=SC2086
            [ -e $device ] || $as_root mdadm --create $device --run --quiet --level=0 --raid-devices="$count" $disks >/dev/null
        else
            echo "@@note $1: one of $count local disks is used: mdadm is not on this image"
        fi
    fi
    format "$1" "$device"
    enter "$1" "UUID=$(uuid "$device") $2 auto defaults,nofail,x-stratus.$1 0 0"
}

uuid() { $as_root blkid -p -o value -s UUID "$1"; }

add_volume() { # NAME DEVICE,ID PATH
    disk=$(device_of "${2%,*}" "${2#*,}") ||
        fail "$1: volume ${2#*,} is attached, but no disk of this VM has its id" "look at: lsblk -o NAME,SERIAL"
    format "$1" "$disk"
    enter "$1" "UUID=$(uuid "$device") $3 auto defaults,nofail,x-systemd.device-timeout=30s,x-stratus.$1 0 2"
}

link() { # NAME PATH: makes the link by which runs find a shared file system, in a folder that containers see as well
    mkdir -p "$HOME/stratus/data/.mounts" && ln -sfn "$2" "$HOME/stratus/data/.mounts/$1"
}

points=
while [ $# -ge 6 ]; do
    kind=$1 name=$2 source=$3 path=$4 type=$5 options=$6 made=
    shift 6
    case $path in "~/"*) path=$HOME/${path#"~/"} ;; *) path=$root$path ;; esac
    points="$points$path
"
    [ "$kind" != shared ] || link "$name" "$path"
    if mountpoint -q "$path"; then
        echo "@@mounted $name $path"
        continue
    fi
    point "$name" "$path"
    case $kind in
    volume) add_volume "$name" "$source" "$path" ;;
    local) add_local "$name" "$path" ;;
    shared)
        client "$name" "$type"
        case $options in new,*) made=yes options=${options#new,} ;; esac
        enter "$name" "$source $path $type $options,x-stratus.$name 0 0"
        ;;
    esac
    if ! output=$($as_root timeout "${STRATUS_MOUNT_PATIENCE:-180}" mount "$path" 2>&1); then
        fail "$name: mounting ${source#*,} at $path failed: $(echo "${output:-no answer}" | tail -n 1)" \
            "check that the security groups allow it (NFS: port 2049; Lustre: 988 and 1018-1023)"
    fi
    [ -z "$made" ] || own "$path"
    echo "@@mounted $name $path"
done
mkdir -p "$HOME/stratus/state"
# Read by container.sh: a job in a container has them at the same paths.
printf '%s' "$points" >"$HOME/stratus/state/mounts"
